"""The story of the demo: what two organizations and their people do, by HTTP alone."""

from __future__ import annotations

import email
import email.policy
import re
import secrets
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from mtenant_devstack.crm import Crm
from mtenant_devstack.events import EventWatch
from mtenant_devstack.http import Http
from mtenant_devstack.patience import until
from mtenant_devstack.sales import SERVICES, sell
from mtenant_devstack.step import expect, step

METHOD_NOT_ALLOWED = 405  # RFC 9110, 15.5.6


@dataclass(frozen=True)
class Organization:
    """One tenant of the story.

    Attributes:
        tenant: its id.
        subdomain: its name in addresses.
        owner: calls services as its first user.
        password: of that user, and of everybody else here.
    """

    tenant: str
    subdomain: str
    owner: Http
    password: str

    @property
    def owner_email(self) -> str:
        """The address of its first user."""
        return owner_of(self.subdomain)


def owner_of(subdomain: str) -> str:
    """Return the address of an organization's first user."""
    return f"ada@{subdomain}.example.com"


def tell(crm: Crm) -> Organization:
    """Live through the story, a step after the other.

    Args:
        crm: the running services.

    Returns:
        The first organization, to look around in.

    Raises:
        DevstackError: something was not as the story has it.
    """
    nobody = Http({name: service.url for name, service in crm.services.items()})
    with EventWatch(crm.nats_url) as events:
        with step("POST :8081/api/tenants/register") as notes:
            acme, globex = register(nobody, "acme"), register(nobody, "globex")
            notes.append("Acme and Globex have a schema each, and an owner")
        with step("POST :8080/api/auth/login, /refresh") as notes:
            acme, globex = log_in(nobody, acme), log_in(nobody, globex)
            notes.append("an access token for ten minutes, a refresh token that works once")
        with step("POST :8081/api/tenants/invite") as notes:
            invitation = invite(acme, "grace@acme.example.com")
            token = read_token(crm.mails, "grace@acme.example.com")
            notes.append("Acme invites a manager; the token is in the mail alone")
        with step("POST :8081/api/invitations/accept") as notes:
            grace = accept(nobody, acme, token)
            notes.append("the account is made, and logs in")
        with step("GET  :8081/api/tenants/users, /usage") as notes:
            notes.append(look_around(grace))
        with step("events through outbox, relay and NATS") as notes:
            notes.append(see_events(events, acme))
        made = [("tenant-service", f"/api/tenants/invitations/{invitation}")]
        if crm.services.keys() >= set(SERVICES):
            made += sell(crm, events, acme.tenant, acme.owner)
        with step("Globex asks for what is Acme's") as notes:
            notes.append(trespass(globex, made))
    return acme


def register(nobody: Http, subdomain: str) -> Organization:
    """Register an organization; nobody is logged in yet."""
    password = secrets.token_urlsafe(16)
    owner = {"email": owner_of(subdomain), "name": "Ada", "password": password}
    body = {"name": subdomain.title(), "subdomain": subdomain, "owner": owner}
    answer = nobody.post("tenant-service", "/api/tenants/register", body, status=201)
    return Organization(answer["tenant"], subdomain, nobody, password)


def log_in(nobody: Http, organization: Organization) -> Organization:
    """Log its owner in, and refresh the tokens once."""
    who = {
        "tenant": organization.tenant,
        "email": organization.owner_email,
        "password": organization.password,
    }
    first = nobody.post("auth-service", "/api/auth/login", who)
    again = {"refresh_token": first["refresh_token"]}
    second = nobody.post("auth-service", "/api/auth/refresh", again)
    owner = nobody.having(second["access_token"])
    profile = owner.get("auth-service", "/api/auth/profile")
    expect(organization.owner_email, profile["email"])
    return replace(organization, owner=owner)


def invite(organization: Organization, address: str) -> str:
    """Invite a manager; return the invitation's id."""
    body = {"email": address, "role": "manager"}
    answer = organization.owner.post("tenant-service", "/api/tenants/invite", body, status=201)
    invitation: str = answer["id"]
    return invitation


def read_token(mails: Path, address: str) -> str:
    """Return the token of the mail to an address, when it has come.

    Raises:
        DevstackError: no such mail came in time.
    """

    def look() -> str | None:
        for path in mails.glob("*.eml"):
            mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            text = mail.get_body(("plain",))
            if mail["To"] != address or text is None:
                continue
            if found := re.search(r"^(\w+\.[\w-]{43})\s*$", text.get_content(), re.MULTILINE):
                return found[1]
        return None

    return until(look, f"a mail to {address} is there")


def accept(nobody: Http, organization: Organization, token: str) -> Http:
    """Accept an invitation and log in; return a client of that person."""
    account = {"token": token, "name": "Grace", "password": organization.password}
    made = nobody.post("tenant-service", "/api/invitations/accept", account)
    who = {"tenant": made["tenant"], "email": made["email"], "password": organization.password}
    return nobody.having(nobody.post("auth-service", "/api/auth/login", who)["access_token"])


def look_around(grace: Http) -> str:
    """Read who is there, and how much of the plan is used."""
    users = grace.get("tenant-service", "/api/tenants/users")["items"]
    expect(["owner", "manager"], [user["role"] for user in users])
    grace.expect(403, "PATCH", "tenant-service", "/api/tenants/current", {"name": "Mine"})
    return "two people; a manager who renames the organization gets 403"


def see_events(events: EventWatch, organization: Organization) -> str:
    """Wait for the events that all this has made."""
    types = ("tenant.created", "user.created", "tenant.user_invited", "tenant.user_joined")
    events.wait(organization.tenant, *types)
    return ", ".join(types)


def trespass(globex: Organization, made: list[tuple[str, str]]) -> str:
    """Ask for another organization's things, and for such that nobody has: the answers are alike."""
    asked = 0
    for service, path in made:
        nowhere = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", str(uuid.uuid4()), path)
        for method in ("GET", "DELETE"):
            other = globex.owner.ask(method, service, path)
            nothing = globex.owner.ask(method, service, nowhere)
            if nothing.status == METHOD_NOT_ALLOWED:
                continue
            expect((404, nothing.json["code"]), (other.status, other.json["code"]))
            asked += 1
    users = globex.owner.get("tenant-service", "/api/tenants/users")["items"]
    expect([globex.owner_email], [user["email"] for user in users])
    return f"{asked} times 404, as for what does not exist; its list of users has its own alone"
