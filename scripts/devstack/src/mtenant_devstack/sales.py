"""The second half of the story: contacts come in, a deal is won, and what follows from that."""

from __future__ import annotations

import email
import email.policy
import re
import urllib.request
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from mtenant_devstack.crm import Crm
from mtenant_devstack.errors import DevstackError
from mtenant_devstack.events import EventWatch
from mtenant_devstack.http import TIMEOUT, Http
from mtenant_devstack.patience import until
from mtenant_devstack.step import expect, say, step

SERVICES = ("contact-service", "deal-service", "communication-service")
CONTACTS = 100
CRASHED = 60  # contacts that are made while their service is killed
ASKING = 4  # at a time
BAD = {17: "no-address", 58: "also not an address"}  # by number of the row
READER = "Mozilla/5.0 (X11; Linux x86_64) Thunderbird/140.0"
AMOUNT = 1_250_000  # minor units: EUR 12,500.00


@dataclass(frozen=True)
class Sale:
    """What the story has made so far.

    Attributes:
        owner: calls the services as Acme's first user.
        contact: the id of the contact whom the deal is with.
        address: that contact's.
        deal: the id of the deal.
    """

    owner: Http
    contact: str
    address: str
    deal: str


def sell(crm: Crm, events: EventWatch, tenant: str, owner: Http) -> list[tuple[str, str]]:
    """Live through the second half.

    Returns:
        Service and path of everything that was made, for others to try.

    Raises:
        DevstackError: something was not as the story has it.
    """
    with step("POST :8082/api/contacts/import") as notes:
        notes.append(import_contacts(owner))
    with step("GET  :8082/api/contacts/export, ?q=") as notes:
        contact, address = export_and_search(owner)
        notes.append(f"{CONTACTS - len(BAD)} lines; a search by prefix finds {address}")
    with step("POST :8083/api/deals") as notes:
        sale = open_deal(owner, contact, address)
        notes.append("a deal of EUR 12,500.00 in the first stage")
    before = forecast(owner)
    with step("kill -9 of contact-service") as notes:
        notes.append(survive(crm, sale))
    with step("PUT  :8083/api/deals/{id}") as notes:
        notes.append(win(sale))
    show_forecast(before, forecast(owner))
    with step("deal.closed_won through outbox, NATS and inbox") as notes:
        events.wait(tenant, "contact.created", "deal.closed_won", "activity.logged", "email.sent")
        notes.append(see_what_follows(sale))
    with step("GET  :8084/t/o.gif") as notes:
        notes.append(open_mail(crm, sale))
    with step("POST :8084/api/tasks") as notes:
        task = be_reminded(sale)
        notes.append("the reminder fired")
    return [
        ("contact-service", f"/api/contacts/{sale.contact}"),
        ("deal-service", f"/api/deals/{sale.deal}"),
        ("deal-service", f"/api/deals/{sale.deal}/history"),
        ("communication-service", f"/api/tasks/{task}"),
    ]


def import_contacts(owner: Http) -> str:
    """Import a file with two bad rows."""
    lines = ["first_name,last_name,email"]
    for number in range(1, CONTACTS + 1):
        address = BAD.get(number, f"person{number}@example.org")
        lines.append(f"Person{number},Example,{address}")
    made = owner.upload("contact-service", "/api/contacts/import", "people.csv", "\n".join(lines))

    def done() -> Any:
        job = owner.get("contact-service", f"/api/contacts/imports/{made['id']}")
        return job if job["status"] != "running" else None

    job = until(done, "the import ends")
    expect((CONTACTS - len(BAD), len(BAD)), (job["created"], job["invalid"]))
    errors = owner.get("contact-service", f"/api/contacts/imports/{made['id']}/errors")["items"]
    expect([number + 1 for number in BAD], [error["line"] for error in errors])  # after the header
    told = ", ".join(f"line {error['line']} {error['code']}" for error in errors)
    return f"{job['created']} contacts, {job['invalid']} bad rows: {told}"


def export_and_search(owner: Http) -> tuple[str, str]:
    """Export all, and search one; return the id and the address of that one."""
    csv = owner.ask("GET", "contact-service", "/api/contacts/export?format=csv")
    expect((200, CONTACTS - len(BAD) + 1), (csv.status, len(csv.body.splitlines())))
    found = owner.get("contact-service", "/api/contacts?q=person42")["items"]
    expect(["person42@example.org"], [contact["email"] for contact in found])
    return found[0]["id"], found[0]["email"]


def open_deal(owner: Http, contact: str, address: str) -> Sale:
    """Open a deal with a contact."""
    due = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
    body = {
        "name": "A hundred chairs",
        "amount_minor": AMOUNT,
        "currency": "EUR",
        "contact_ids": [contact],
        "expected_close_date": due,
    }
    deal = owner.post("deal-service", "/api/deals", body, status=201)["id"]
    return Sale(owner, contact, address, deal)


def forecast(owner: Http) -> list[dict[str, Any]]:
    """Return what to expect by stage."""
    items: list[dict[str, Any]] = owner.get("deal-service", "/api/deals/forecast?by=stage")["items"]
    return items


def show_forecast(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    """Print both as a table."""
    say(f"    {'forecast':<10}{'stage':<16}{'open':>14}{'won':>14}{'weighted':>14}")
    for name, items in (("before", before), ("after", after)):
        for item in items:
            sums = [item["open_minor"], item["won_minor"], item["weighted_minor"]]
            shown = "".join(f"{amount / 100:>14,.2f}" for amount in sums)
            say(f"    {name:<10}{item['stage'] or '':<16}{shown}  {item['currency']}")
    expect(AMOUNT, sum(item["won_minor"] for item in after))


def survive(crm: Crm, sale: Sale) -> str:
    """Kill a service while it makes contacts; what it had answered is there when it is back."""
    service, owner = crm.services["contact-service"], sale.owner
    with ThreadPoolExecutor(ASKING) as pool:
        waiting = [pool.submit(add_contact, owner, number) for number in range(CRASHED)]
        for one in islice(as_completed(waiting), CRASHED // 3):
            one.result()
        service.kill()
        made = [one.result() for one in waiting]
    with_deal = owner.get("deal-service", f"/api/deals/{sale.deal}")
    expect([sale.contact], with_deal["contact_ids"])
    service.start()
    contact = owner.get("contact-service", f"/api/contacts/{sale.contact}")
    expect(sale.address, contact["email"])
    for number, answered in enumerate(made):
        if answered is None:  # it may be there or not: who asks again finds it, or makes it
            again = owner.ask("POST", "contact-service", "/api/contacts", crashed(number))
            expect(True, again.status in {201, 409})
        else:
            found = owner.get("contact-service", f"/api/contacts/{answered}")
            expect(crashed(number)["email"], found["email"])
    found = owner.get("contact-service", f"/api/contacts?q=crashed&limit={2 * CRASHED}")["items"]
    expect(sorted(crashed(number)["email"] for number in range(CRASHED)), sorted(addresses(found)))
    kept = sum(answered is not None for answered in made)
    return (
        f"it was making contacts: the {kept} that it had answered are there, the other"
        f" {CRASHED - kept} were asked for again, none is there twice; deals were read meanwhile"
    )


def add_contact(owner: Http, number: int) -> str | None:
    """Make a contact; return its id, or None if nobody answered."""
    try:
        answer = owner.ask("POST", "contact-service", "/api/contacts", crashed(number))
    except DevstackError:
        return None
    expect(201, answer.status)
    made: str = answer.json["id"]
    return made


def crashed(number: int) -> dict[str, str]:
    """Return one of the contacts that are made while the service is killed."""
    return {"last_name": "Crashed", "email": f"crashed{number}@example.org"}


def addresses(contacts: list[dict[str, Any]]) -> list[str]:
    """Return the addresses of contacts."""
    return [contact["email"] for contact in contacts]


def win(sale: Sale) -> str:
    """Take a deal through its stages."""
    path = f"/api/deals/{sale.deal}"
    for stage in ("qualification", "proposal", "negotiation", "closed_won"):
        sale.owner.expect(200, "PUT", "deal-service", path, {"stage": stage})
    history = sale.owner.get("deal-service", f"{path}/history")["items"]
    expect(5, len(history))
    return "closed_won, by way of every stage"


def see_what_follows(sale: Sale) -> str:
    """Wait for the activity and the mail that the won deal has made, each once."""
    path = f"/api/activities?deal_id={sale.deal}"

    def timeline() -> Any:
        items = sale.owner.get("communication-service", path)["items"]
        return items if len(items) > 1 else None

    items = until(timeline, "the activities are there")

    def sent() -> Any:
        emails = sale.owner.get("communication-service", f"/api/emails?deal_id={sale.deal}")
        return [one for one in emails["items"] if one["status"] == "sent"]

    expect(1, len(until(sent, "the mail is sent")))
    return f"{len(items)} activities in the timeline, a mail that thanks, and one for later"


def open_mail(crm: Crm, sale: Sale) -> str:
    """Open the picture of the mail, as a reader's program does."""
    picture = until(lambda: find_picture(crm.mails, sale.address), "the mail is there")
    request = urllib.request.Request(picture, headers={"user-agent": READER})  # noqa: S310 -- ours
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
        expect("image/gif", answer.headers.get_content_type())

    def counted() -> Any:
        path = f"/api/emails?deal_id={sale.deal}"
        items = sale.owner.get("communication-service", path)["items"]
        return [one for one in items if one["opens"]]

    until(counted, "the mail counts as opened")
    return "the mail counts as opened"


def find_picture(mails: Path, address: str) -> str | None:
    """Return the address of the picture in a mail to somebody."""
    for path in mails.glob("*.eml"):
        mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        html = mail.get_body(("html",))
        if mail["To"] != address or html is None:
            continue
        if found := re.search(r'https?://[^"\s]+/t/o\.gif\?t=[^"\s]+', html.get_content()):
            return found[0].replace("&amp;", "&")
    return None


def be_reminded(sale: Sale) -> str:
    """Make a task whose reminder is due, and wait until it has fired; return its id."""
    body = {
        "title": "Call them",
        "remind_at": datetime.now(UTC).isoformat(),
        "deal_id": sale.deal,
    }
    task: str = sale.owner.post("communication-service", "/api/tasks", body, status=201)["id"]
    path = f"/api/tasks/{task}"
    until(
        lambda: sale.owner.get("communication-service", path)["reminded_at"], "the reminder fires"
    )
    return task
