from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from mtenant_chassis.testing import Issuer, Place, read_list, running
from tenant_service.routes import invitations as routes

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse battery staple"


async def invite(client: Any, issuer: Issuer, tenant: str, **body: Any) -> Any:
    return await client.post(
        "/api/tenants/invite",
        json={"email": "grace@example.com", "role": "member", **body},
        headers=issuer.bearer(tenant, "admin"),
    )


def token_of(mail: Any) -> str:
    (found,) = re.findall(r"#token=(\S+)", mail.get_content())
    return str(found)


async def mailed(service: Any, eventually: Any, number: int = 1) -> str:
    await eventually(lambda: len(service.mails.sent) >= number)
    return token_of(service.mails.sent[number - 1])


def acceptance(token: str, **changes: Any) -> dict[str, Any]:
    return {"token": token, "name": "Grace", "password": PASSWORD, **changes}


async def accept(client: Any, token: str, **changes: Any) -> Any:
    return await client.post("/api/invitations/accept", json=acceptance(token, **changes))


async def test_who_is_invited_gets_a_mail_and_an_account_of_the_role(
    service: Any, auth: Any, issuer: Issuer, registered: Any, eventually: Any
) -> None:
    async with running(service.app) as client:
        one = await registered(client)
        made = await invite(client, issuer, one.tenant, email="Grace@Example.com", role="manager")
        assert made.status_code == 201, made.text
        token = await mailed(service, eventually)
        accepted = await accept(client, token)
        shown = await client.get(
            made.headers["location"], headers=issuer.bearer(one.tenant, "admin")
        )

    assert accepted.status_code == 200, accepted.text
    user = accepted.json()["user_id"]
    assert accepted.json() == {
        "tenant": one.tenant,
        "subdomain": one.subdomain,
        "email": "grace@example.com",
        "role": "manager",
        "user_id": user,
        "new_account": True,
    }
    assert auth.users[one.tenant, user]["role"] == "manager"
    assert auth.users[one.tenant, user]["email_verified"] is True  # the token was in a mail to it
    assert auth.passwords[one.tenant, user] == PASSWORD
    assert (shown.json()["status"], shown.json()["accepted_by"]) == ("accepted", user)
    (invited,) = service.told("TenantUserInvited", one.tenant)
    (joined,) = service.told("TenantUserJoined", one.tenant)
    assert invited.invitation_id == joined.invitation_id == made.json()["id"]
    assert (joined.user_id, joined.role) == (user, "manager")


async def test_of_twenty_who_accept_one_invitation_one_gets_through(
    service: Any, auth: Any, issuer: Issuer, registered: Any, eventually: Any
) -> None:
    async with running(service.app) as client:
        one = await registered(client)
        await invite(client, issuer, one.tenant)
        token = await mailed(service, eventually)
        answers = await asyncio.gather(*(accept(client, token) for _ in range(20)))
        late = await accept(client, token)

    statuses = [answer.status_code for answer in answers]
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 409, 410}
    assert (late.status_code, late.json()["code"]) == (410, "INVITATION_GONE")
    assert len(service.told("TenantUserJoined")) == 1
    assert len(auth.of(one.tenant)) == 2


async def test_a_token_stands_in_the_mail_and_nowhere_else(
    *, service: Any, place: Place, issuer: Issuer, registered: Any, eventually: Any, capfd: Any
) -> None:
    async with running(service.app) as client:
        one = await registered(client)
        made = await invite(client, issuer, one.tenant)
        token = await mailed(service, eventually)
        listed = await client.get(
            "/api/tenants/invitations", headers=issuer.bearer(one.tenant, "admin")
        )
        wrong = await accept(client, token, password="short")
        await accept(client, token)
        await eventually(
            lambda: (
                place.rows(
                    f"select count(*) from tenant_{one.tenant}.mail_intents where body_text is not null"
                )
                == [(0,)]
            )
        )

    secret = token.partition(".")[2]
    tables = ["shared.invitations", "shared.mail_queue"]
    tables += [f"tenant_{one.tenant}.{name}" for name in ("audit_entries", "idempotency_keys")]
    stored = " ".join(
        str(place.rows(f"select string_agg(r::text, ' ') from {name} r")) for name in tables
    )
    told = repr(service.events.outbox.added)
    out, err = capfd.readouterr()
    for text in (made.text, listed.text, wrong.text, stored, told, out, err):
        assert secret not in text
    assert wrong.status_code == 400


async def test_an_address_with_an_account_gets_the_role_and_never_less(
    service: Any, auth: Any, issuer: Issuer, registered: Any, eventually: Any
) -> None:
    async with running(service.app) as client:
        one = await registered(client)
        viewer = auth.add(one.tenant, "v@example.com", "viewer")
        manager = auth.add(one.tenant, "m@example.com", "manager")
        for number, email in enumerate(["v@example.com", "m@example.com"], 1):
            await invite(client, issuer, one.tenant, email=email, role="member")
            answer = await accept(client, await mailed(service, eventually, number))
            assert answer.status_code == 200
            assert answer.json()["new_account"] is False

    assert auth.users[one.tenant, viewer]["role"] == "member"
    assert auth.users[one.tenant, manager]["role"] == "manager"
    assert len(auth.of(one.tenant)) == 3


async def test_sending_again_makes_the_token_before_void(
    service: Any, issuer: Issuer, registered: Any, eventually: Any
) -> None:
    async with running(service.app) as client:
        one = await registered(client)
        made = (await invite(client, issuer, one.tenant)).json()
        first = await mailed(service, eventually)
        again = await client.post(
            f"/api/tenants/invitations/{made['id']}/resend",
            headers=issuer.bearer(one.tenant, "admin"),
        )
        assert (again.status_code, again.json()["sent"]) == (200, 2)
        second = await mailed(service, eventually, 2)
        assert (await accept(client, first)).status_code == 404
        assert (await accept(client, second)).status_code == 200


async def test_a_revoked_and_an_expired_invitation_are_gone(
    service: Any, place: Place, issuer: Issuer, registered: Any, eventually: Any
) -> None:
    async with running(service.app) as client:
        one = await registered(client)
        admin = issuer.bearer(one.tenant, "admin")
        revoked = (await invite(client, issuer, one.tenant, email="r@example.com")).json()
        expired = (await invite(client, issuer, one.tenant, email="e@example.com")).json()
        await eventually(lambda: len(service.mails.sent) == 2)
        by_address = {mail["To"]: token_of(mail) for mail in service.mails.sent}
        gone = await client.delete(f"/api/tenants/invitations/{revoked['id']}", headers=admin)
        twice = await client.delete(f"/api/tenants/invitations/{revoked['id']}", headers=admin)
        asked = await client.get(f"/api/tenants/invitations/{revoked['id']}", headers=admin)
        history = await client.get("/api/tenants/invitations?status=revoked", headers=admin)
        place.rows(
            "update shared.invitations set expires_at = now() - interval '1 second'"
            f" where id = '{expired['id']}'"
        )
        answers = [await accept(client, token) for token in by_address.values()]
        listed = await client.get("/api/tenants/invitations?status=expired", headers=admin)
        again = await invite(client, issuer, one.tenant, email="e@example.com")
        resent = await client.post(
            f"/api/tenants/invitations/{expired['id']}/resend", headers=admin
        )

    assert (gone.status_code, twice.status_code) == (204, 409)
    assert twice.json()["code"] == "INVITATION_CLOSED"
    assert (asked.status_code, asked.json()["code"]) == (404, "INVITATION_NOT_FOUND")
    assert [item["id"] for item in history.json()["items"]] == [revoked["id"]]
    assert [answer.json()["code"] for answer in answers] == ["INVITATION_GONE"] * 2
    assert [item["id"] for item in listed.json()["items"]] == [expired["id"]]
    assert again.status_code == 201
    assert (resent.status_code, resent.json()["code"]) == (409, "INVITATION_PENDING")


async def test_an_expired_invitation_can_be_sent_again(
    service: Any, place: Place, issuer: Issuer, registered: Any, eventually: Any
) -> None:
    async with running(service.app) as client:
        one = await registered(client)
        made = (await invite(client, issuer, one.tenant)).json()
        place.rows("update shared.invitations set expires_at = now() - interval '1 second'")
        again = await client.post(
            f"/api/tenants/invitations/{made['id']}/resend",
            headers=issuer.bearer(one.tenant, "admin"),
        )
        assert (again.status_code, again.json()["status"]) == (200, "pending")
        accepted = await accept(client, await mailed(service, eventually, 2))
    assert accepted.status_code == 200


async def test_nobody_gives_a_role_above_the_own(
    service: Any, issuer: Issuer, registered: Any
) -> None:
    async with running(service.app) as client:
        one = await registered(client)
        owner = await invite(client, issuer, one.tenant, role="owner")
        admin = await invite(client, issuer, one.tenant, role="admin")

    assert (owner.status_code, owner.json()["code"]) == (403, "ROLE_TOO_HIGH")
    assert admin.status_code == 201


async def test_one_address_has_one_open_invitation(
    service: Any, issuer: Issuer, registered: Any
) -> None:
    async with running(service.app) as client:
        one = await registered(client)
        answers = await asyncio.gather(*(invite(client, issuer, one.tenant) for _ in range(5)))

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201, 409, 409, 409, 409]


async def test_a_plan_has_no_more_users_than_it_says_however_many_invite_at_once(
    service: Any, place: Place, issuer: Issuer, registered: Any
) -> None:
    async with running(service.app) as client:
        one = await registered(client)
        answers = await asyncio.gather(
            *(invite(client, issuer, one.tenant, email=f"u{n}@example.com") for n in range(10))
        )
        usage = await client.get("/api/tenants/usage", headers=issuer.bearer(one.tenant, "viewer"))
        operator = {
            "authorization": "Bearer "
            + issuer.service_token(
                "billing-service", audience="tenant-service", scopes=("tenants:manage",)
            )
        }
        bigger = await client.put(
            f"/api/tenants/{one.tenant}/plan", json={"plan": "team"}, headers=operator
        )
        more = await invite(client, issuer, one.tenant, email="more@example.com")
        smaller = await client.put(
            f"/api/tenants/{one.tenant}/plan", json={"plan": "free"}, headers=operator
        )

    assert sorted(answer.status_code for answer in answers) == [201] * 4 + [402] * 6
    refused = next(answer for answer in answers if answer.status_code == 402)
    assert refused.json()["code"] == "PLAN_LIMIT_REACHED"
    assert usage.json() == {"plan": {"name": "free", "users": 5}, "users": 1, "invitations": 4}
    assert bigger.json()["plan"] == {"name": "team", "users": 50}
    assert more.status_code == 201
    assert (smaller.status_code, smaller.json()["code"]) == (409, "PLAN_TOO_SMALL")
    mails = place.rows(f"select count(*) from tenant_{one.tenant}.mail_intents")
    assert mails == [(5,)]


async def test_a_refused_password_leaves_the_invitation_open(
    service: Any, auth: Any, issuer: Issuer, registered: Any, eventually: Any
) -> None:
    async with running(service.app) as client:
        one = await registered(client)
        await invite(client, issuer, one.tenant)
        token = await mailed(service, eventually)
        auth.failures = [422]
        refused = await accept(client, token)
        accepted = await accept(client, token)

    assert (refused.status_code, refused.json()["code"]) == (422, "PASSWORD_WEAK")
    assert accepted.status_code == 200


async def test_without_auth_service_the_invitation_stays_open(
    service: Any, auth: Any, issuer: Issuer, registered: Any, eventually: Any
) -> None:
    async with running(service.app) as client:
        one = await registered(client)
        await invite(client, issuer, one.tenant)
        token = await mailed(service, eventually)
        auth.failures = [0] * 9
        away = await accept(client, token)
        auth.failures = []
        service.app.state.chassis.service("auth-service").breaker.succeeded()
        accepted = await accept(client, token)

    assert away.status_code == 503
    assert accepted.status_code == 200


async def test_who_accepts_holds_the_invitation_until_it_is_done(
    service: Any, auth: Any, issuer: Issuer, registered: Any, eventually: Any
) -> None:
    async with running(service.app) as client:
        one = await registered(client)
        made = (await invite(client, issuer, one.tenant)).json()
        token = await mailed(service, eventually)
        auth.gate = asyncio.Event()
        before = len(auth.calls)
        first = asyncio.create_task(accept(client, token))
        await eventually(lambda: len(auth.calls) > before)
        second = await accept(client, token)
        admin = issuer.bearer(one.tenant, "admin")
        revoked = await client.delete(f"/api/tenants/invitations/{made['id']}", headers=admin)
        auth.gate.set()
        done = await first

    assert (second.status_code, second.json()["code"]) == (409, "INVITATION_BUSY")
    assert second.headers["retry-after"] == "1"
    assert revoked.json()["code"] == "INVITATION_BUSY"
    assert done.status_code == 200


async def test_a_service_learns_what_a_token_of_its_tenant_stands_for(
    service: Any, issuer: Issuer, registered: Any, eventually: Any
) -> None:
    def of(tenant: str) -> dict[str, str]:
        token = issuer.service_token(
            "auth-service",
            audience="tenant-service",
            tenant=tenant,
            scopes=("invitations:read",),
        )
        return {"authorization": f"Bearer {token}"}

    async with running(service.app) as client:
        one, other = await registered(client), await registered(client)
        made = (await invite(client, issuer, one.tenant)).json()
        token = await mailed(service, eventually)
        said = await client.post(
            "/api/invitations/check", json={"token": token}, headers=of(one.tenant)
        )
        foreign = await client.post(
            "/api/invitations/check", json={"token": token}, headers=of(other.tenant)
        )
        person = await client.post(
            "/api/invitations/check",
            json={"token": token},
            headers=issuer.bearer(one.tenant, "owner"),
        )

    assert said.json() == {"id": made["id"], "email": "grace@example.com", "role": "member"}
    assert (foreign.status_code, foreign.json()["code"]) == (404, "INVITATION_NOT_FOUND")
    assert person.status_code == 403


async def test_an_invitation_sent_twice_by_one_key_is_made_once(
    service: Any, issuer: Issuer, registered: Any, eventually: Any
) -> None:
    async with running(service.app) as client:
        one = await registered(client)
        headers = {**issuer.bearer(one.tenant, "admin"), "idempotency-key": "again"}
        body = {"email": "grace@example.com", "role": "member"}
        first, second = [
            await client.post("/api/tenants/invite", json=body, headers=headers) for _ in range(2)
        ]
        await mailed(service, eventually)

    assert first.json() == second.json()
    assert second.headers["idempotent-replayed"] == "true"
    assert len(service.mails.sent) == 1


async def test_invitations_are_listed_newest_first_in_pages(
    service: Any, issuer: Issuer, registered: Any
) -> None:
    async with running(service.app) as client:
        one = await registered(client)
        admin = issuer.bearer(one.tenant, "admin")
        for number in range(4):
            await invite(client, issuer, one.tenant, email=f"u{number}@example.com")
        listed = await read_list(client, "/api/tenants/invitations", admin, limit=3)
        none = await read_list(client, "/api/tenants/invitations", admin, status="accepted")

    emails = [item["email"] for item in listed]
    assert emails == [f"u{number}@example.com" for number in (3, 2, 1, 0)]
    assert none == []


def test_no_answer_of_an_invitation_has_a_place_for_its_token() -> None:
    for view in (routes.InvitationView, routes.OpenInvitation, routes.Accepted):
        assert not {"token", "digest"} & set(view.model_fields)
