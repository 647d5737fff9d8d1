"""What readers do with mails: noted once signed, led nowhere else, and told without an address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx2 as httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from communication_service.domain.tracking import Signer, Token
from communication_service.routes.tracking import GIF
from mtenant_chassis.testing import Issuer, Place, read_list, running

pytestmark = pytest.mark.anyio

TARGET = "https://example.com/offer?a=1&b=2"


@dataclass
class Sent:
    """A mail that was sent.

    Attributes:
        id: Its id.
        open: The path of its picture.
        click: The path of its link.
        unsubscribe: The path of its last link.
    """

    id: str
    open: str
    click: str
    unsubscribe: str


@pytest.fixture
def send(
    *, service: Any, client: Any, acme: str, new_email: Any, eventually: Any, links_of: Any
) -> Any:
    """Send a mail, and return its links."""

    async def sent(tenant: str = acme, **changes: Any) -> Sent:
        before = len(service.mails.sent)
        answer = await client.post(
            "/api/emails/send", json=new_email(**changes), headers=service.bearer(tenant)
        )
        assert answer.status_code == 202, answer.text
        email = answer.json()["id"]
        await eventually(
            lambda: (
                service.rows(tenant, f"select status from emails where id = '{email}'")
                == [("sent",)]
            )
        )
        assert len(service.mails.sent) == before + 1
        found = links_of(service.mails.sent[-1])
        return Sent(email, found["open"][0], found["click"][0], found["unsubscribe"][0])

    return sent


async def view(client: Any, service: Any, tenant: str, email: str) -> Any:
    answer = await client.get(f"/api/emails/{email}", headers=service.bearer(tenant))
    return answer.json()


async def test_the_first_opening_by_a_person_is_told_once(
    service: Any, client: Any, acme: str, send: Any, person: Any
) -> None:
    one = await send()
    for _ in range(3):
        answer = await client.get(one.open, headers=person)
        assert (answer.status_code, answer.content) == (200, GIF)
        assert answer.headers["content-type"] == "image/gif"
        assert "no-store" in answer.headers["cache-control"]
    (told,) = service.told("EmailOpened", acme)
    assert told.email_id == one.id
    found = await view(client, service, acme, one.id)
    assert (found["opens"], found["machine_opens"]) == (3, 0)
    assert found["opened_at"] is not None


async def test_many_who_open_at_once_are_told_of_once(
    service: Any, client: Any, acme: str, send: Any, person: Any
) -> None:
    one = await send()
    await asyncio.gather(*(client.get(one.open, headers=person) for _ in range(20)))
    assert len(service.told("EmailOpened", acme)) == 1
    assert (await view(client, service, acme, one.id))["opens"] == 20


async def test_machines_are_counted_apart_and_open_nothing(
    *,
    make_service: Any,
    own_settings: Any,
    acme: str,
    new_email: Any,
    eventually: Any,
    links_of: Any,
    person: Any,
) -> None:
    service = make_service(own=own_settings(machine_window=timedelta(minutes=5)))
    async with running(service.app) as client:
        await client.post("/api/emails/send", json=new_email(), headers=service.bearer(acme))
        await eventually(lambda: service.told("EmailSent", acme))
        found = links_of(service.mails.sent[0])
        await client.get(found["open"][0], headers=person)  # so soon
        await client.get(found["open"][0], headers={"user-agent": "curl/8"})
        await client.head(found["open"][0], headers=person)
        followed = await client.get(found["click"][0], headers={"user-agent": "SomeBot/1"})
        assert followed.status_code == 302
        (one,) = (await client.get("/api/emails", headers=service.bearer(acme))).json()["items"]
        assert (one["opens"], one["clicks"]) == (0, 0)
        assert (one["machine_opens"], one["machine_clicks"]) == (3, 1)
        assert one["opened_at"] is one["clicked_at"] is None
        tracks = await read_list(
            client, f"/api/emails/{one['id']}/tracking", service.bearer(acme), limit=3
        )
    assert [row["machine"] for row in tracks] == [
        "too soon",
        "user agent",
        "method",
        "user agent",
    ]
    assert service.told("EmailOpened") == []


async def test_who_follows_a_link_has_opened_the_mail_and_comes_where_it_leads(
    service: Any, client: Any, acme: str, send: Any, person: Any
) -> None:
    one = await send()
    answer = await client.get(one.click, headers=person)
    assert (answer.status_code, answer.headers["location"]) == (302, TARGET)
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "no-store" in answer.headers["cache-control"]
    found = await view(client, service, acme, one.id)
    assert (found["clicks"], found["opens"], found["links"][0]["clicks"]) == (1, 0, 1)
    assert found["opened_at"] == found["clicked_at"] is not None
    assert len(service.told("EmailOpened", acme)) == 1


async def test_no_more_rows_are_kept_of_a_mail_than_some_but_all_are_counted(
    service: Any, client: Any, acme: str, send: Any, person: Any
) -> None:
    one = await send()
    service.rows(acme, f"update emails set tracks = 499 where id = '{one.id}'")
    for _ in range(4):
        await client.get(one.open, headers=person)
    assert service.rows(acme, "select count(*) from email_tracking") == [(1,)]
    assert (await view(client, service, acme, one.id))["opens"] == 4


async def test_a_reader_who_wants_no_more_gets_no_more(
    service: Any, client: Any, acme: str, send: Any, new_email: Any
) -> None:
    one = await send()
    asked = await client.get(one.unsubscribe)
    assert asked.status_code == 200
    assert "<form" in asked.text
    assert "default-src 'none'" in asked.headers["content-security-policy"]
    assert (await view(client, service, acme, one.id))["unsubscribed_at"] is None
    for _ in range(2):
        done = await client.post(
            one.unsubscribe,
            content="List-Unsubscribe=One-Click",
            headers={"content-type": "application/x-www-form-urlencoded"},
        )
        assert done.status_code == 200
    assert (await view(client, service, acme, one.id))["unsubscribed_at"] is not None
    for address in ("ada@example.com", "ADA@Example.COM"):
        again = await client.post(
            "/api/emails/send", json=new_email(to=address), headers=service.bearer(acme)
        )
        assert (again.status_code, again.json()["code"]) == (422, "RECIPIENT_UNSUBSCRIBED")
    trail = await client.get("/api/emails/audit", headers=service.bearer(acme, "admin"))
    entry = trail.json()["items"][0]
    assert (entry["action"], entry["actor"]) == ("email.unsubscribed", "anonymous")
    assert "ada@" not in trail.text.lower()


async def test_a_mail_that_is_not_to_be_tracked_has_no_tracker(
    *, service: Any, client: Any, acme: str, new_email: Any, eventually: Any, links_of: Any
) -> None:
    await client.post("/api/emails/send", json=new_email(track=False), headers=service.bearer(acme))
    await eventually(lambda: service.mails.sent)
    found = links_of(service.mails.sent[0])
    assert (found["open"], found["click"]) == ([], [])
    assert len(found["unsubscribe"]) == 1
    assert TARGET.replace("&", "&amp;") in service.mails.sent[0].get_body(("html",)).get_content()


async def test_without_a_public_url_mails_have_no_links_of_ours_and_no_token_is_good(
    *, make_service: Any, own_settings: Any, acme: str, new_email: Any, eventually: Any
) -> None:
    service = make_service(own=own_settings(public_url=None, tracking_secret=None))
    async with running(service.app) as client:
        await client.post("/api/emails/send", json=new_email(), headers=service.bearer(acme))
        await eventually(lambda: service.mails.sent)
        assert (await client.get("/t/c?t=x")).status_code == 404
        assert (await client.get("/t/o.gif?t=x")).status_code == 200
    assert b"/t/" not in service.mails.sent[0].as_bytes()
    assert service.mails.sent[0]["List-Unsubscribe"] is None


def forged(service: Any, tenant: str, email: str) -> dict[str, str]:
    """Return tokens that are good for nothing, by what is wrong with them."""
    signer: Signer = service.own.signer
    mine = UUID(email)
    long_ago = datetime.now(UTC) - timedelta(days=400)
    stranger = Signer(["another secret that is long enough too"], timedelta(days=9))
    good = signer.write(Token("click", tenant, mine))
    return {
        "of another secret": stranger.write(Token("click", tenant, mine)),
        "too old": signer.write(Token("click", tenant, mine), now=long_ago),
        "of another purpose": signer.write(Token("open", tenant, mine)),
        "of a link that is not there": signer.write(Token("click", tenant, mine, 7)),
        "of a mail that is not there": signer.write(Token("click", tenant, uuid4())),
        "of a tenant that is not there": signer.write(Token("click", "nobody", mine)),
        "cut": good[:-1],
        "longer": good + "A",
        "changed": ("B" if good[0] != "B" else "C") + good[1:],
        "empty": "",
        "a URL": "https://evil.example/",
    }


async def test_tokens_that_are_forged_too_old_or_of_another_tenant_are_all_alike(
    *, service: Any, client: Any, acme: str, place: Place, send: Any, person: Any
) -> None:
    one = await send()
    other = await place.new_tenant()
    theirs = {"of another tenant": service.own.signer.write(Token("click", other, UUID(one.id)))}
    seen = set()
    for name, token in {**forged(service, acme, one.id), **theirs}.items():
        answer = await client.get("/t/c", params={"t": token}, headers=person)
        assert answer.status_code == 404, name
        assert "location" not in answer.headers
        body = answer.json()
        body.pop("request_id")
        assert not token or token not in answer.text
        seen.add(str(body))
        picture = await client.get("/t/o.gif", params={"t": token}, headers=person)
        assert picture.content == GIF
        for ask in (client.get, client.post):
            assert (await ask("/t/u", params={"t": token})).status_code == 404
    assert len(seen) == 1
    for tenant in (acme, other):
        assert service.rows(tenant, "select count(*) from email_suppressions") == [(0,)]
    found = await view(client, service, acme, one.id)
    # One of them is a good token of the picture, which is what a picture's token does.
    assert (found["opens"], found["clicks"], found["unsubscribed_at"]) == (1, 0, None)


async def test_who_comes_before_a_mail_was_sent_is_a_machine(
    service: Any, client: Any, acme: str, send: Any, person: Any
) -> None:
    """A server that looks at it before it accepts it; or the sender died before it could note it."""
    one = await send()
    service.rows(
        acme,
        "update emails set status = 'queued', sent_at = null, created_at = now() - interval '7 days'",
    )
    for _ in range(2):
        await client.get(one.open, headers=person)
        await client.get(one.click, headers=person)

    found = await view(client, service, acme, one.id)
    assert found["opened_at"] is None
    assert service.told("EmailOpened", acme) == []


async def test_while_a_tenant_is_suspended_its_links_lead_nowhere(
    *, service: Any, client: Any, acme: str, send: Any, person: Any, place: Place
) -> None:
    one = await send()
    place.rows(f"revoke usage on schema tenant_{acme} from {place.migrate.app}")
    assert (await client.get(one.click, headers=person)).status_code == 404
    assert (await client.post(one.unsubscribe)).status_code == 404
    assert (await client.get(one.open, headers=person)).content == GIF
    place.rows(f"grant usage on schema tenant_{acme} to {place.migrate.app}")
    assert (await client.get(one.click, headers=person)).status_code == 302


HOSTILE = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=80),
    st.sampled_from(["https://evil.example", "//evil.example", "javascript:alert(1)", "\\\\evil"]),
)


@pytest.fixture(scope="module")
async def opened(
    build_service: Any, new_others: Any, place: Place, eventually: Any, links_of: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Sent]]:
    """One app and one mail, which all examples of a property ask."""
    service = build_service(Issuer(), new_others())
    tenant = await place.new_tenant()
    to = f"{tenant}@example.com"
    said = {"to": to, "subject": "s", "text": "t", "html": f'<a href="{TARGET}">x</a>'}
    async with running(service.app) as client:
        made = await client.post("/api/emails/send", json=said, headers=service.bearer(tenant))
        await eventually(lambda: service.mails_to(to))
        found = links_of(service.mails_to(to)[0])
        yield (
            client,
            Sent(made.json()["id"], found["open"][0], found["click"][0], found["unsubscribe"][0]),
        )


async def test_nothing_that_a_caller_says_leads_anywhere_but_where_the_mail_leads(
    opened: Any,
) -> None:
    client, one = opened
    examples: list[tuple[str, str, dict[str, str]]] = []

    @settings(max_examples=80, deadline=None, database=None)
    @given(
        path=st.sampled_from([one.click, "/t/c?t=", one.open, one.unsubscribe, "/t/c/"]),
        name=st.sampled_from(["url", "u", "to", "next", "t", "redirect", "r"]),
        value=HOSTILE,
        host=st.sampled_from(["service", "evil.example"]),
    )
    def collect(path: str, name: str, value: str, host: str) -> None:
        url = f"{path}{'&' if '?' in path else '?'}{name}={quote(value)}"
        fields = {
            "host": host,
            "x-forwarded-host": "evil.example",
            "referer": "https://evil.example",
        }
        examples.append((url, value, fields))

    await asyncio.to_thread(collect)
    seen = set()
    for url, _, fields in examples:
        for method in ("GET", "POST", "HEAD"):
            answer = await client.request(method, url, headers=fields)
            assert answer.status_code < 500
            if "location" in answer.headers:
                assert answer.headers["location"] == TARGET
            seen.add(answer.status_code)
            assert "evil.example" not in answer.text
    assert {302, 404} <= seen
