from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx2 as httpx
import pytest

from mtenant_chassis import Router, create_app, idempotent, requires
from mtenant_chassis.tenancy import Tx
from mtenant_chassis.testing import Issuer, Place, running

pytestmark = pytest.mark.anyio


async def send(
    client: httpx.AsyncClient, headers: dict[str, str], title: str, key: str | None = "k1"
) -> httpx.Response:
    fields = headers if key is None else {**headers, "idempotency-key": key}
    return await client.post("/api/notes", headers=fields, json={"title": title})


def count(place: Place, tenant: str, table: str = "notes") -> Any:
    return place.rows(f"select count(*) from tenant_{tenant}.{table}")[0][0]


async def test_the_same_request_again_is_answered_alike_and_happens_once(
    notes_app: Any, place: Place, issuer: Issuer, acme: str
) -> None:
    async with running(notes_app()) as client:
        member = issuer.bearer(acme, "member")
        first = await send(client, member, "a")
        again = await send(client, member, "a")

    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert first.headers["etag"] == again.headers["etag"] == '"v1"'
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert first.headers["x-request-id"] != again.headers["x-request-id"]
    assert count(place, acme) == 1


async def test_another_body_with_the_same_key_is_refused(
    notes_app: Any, place: Place, issuer: Issuer, acme: str
) -> None:
    async with running(notes_app()) as client:
        member = issuer.bearer(acme, "member")
        await send(client, member, "a")
        other_body = await send(client, member, "b")

    assert (other_body.status_code, other_body.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert count(place, acme) == 1


async def test_a_key_belongs_to_one_principal_of_one_tenant(
    notes_app: Any, place: Place, issuer: Issuer, acme: str, other: str
) -> None:
    async with running(notes_app()) as client:
        answers = [
            await send(client, issuer.bearer(acme, "member", user="u1"), "a"),
            await send(client, issuer.bearer(acme, "member", user="u2"), "b"),
            await send(client, issuer.bearer(other, "member", user="u1"), "a"),
        ]

    assert [one.status_code for one in answers] == [201, 201, 201]
    assert (count(place, acme), count(place, other)) == (2, 1)


async def test_a_refusal_is_kept_and_what_was_written_before_it_is_not(
    notes_app: Any, place: Place, issuer: Issuer, acme: str
) -> None:
    async with running(notes_app()) as client:
        member = issuer.bearer(acme, "member")
        first = await send(client, member, "forbidden")
        again = await send(client, member, "forbidden")

    assert (first.status_code, first.json()["code"]) == (422, "NOTE_FORBIDDEN")
    assert first.headers["content-type"] == again.headers["content-type"]
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert count(place, acme) == 0
    assert count(place, acme, "audit_entries") == 0
    assert count(place, acme, "idempotency_keys") == 1


async def test_an_invalid_request_is_kept_too(
    notes_app: Any, place: Place, issuer: Issuer, acme: str
) -> None:
    async with running(notes_app()) as client:
        member = issuer.bearer(acme, "member")
        first, again = await send(client, member, ""), await send(client, member, "")

    assert first.status_code == again.status_code == 400
    assert first.content == again.content
    assert again.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("case", [("broken", 500), ("busy", 429)], ids=["a fault", "a rate"])
async def test_what_may_succeed_later_is_not_kept(
    notes_app: Any, place: Place, issuer: Issuer, acme: str, case: tuple[str, int]
) -> None:
    title, status = case
    async with running(notes_app()) as client:
        member = issuer.bearer(acme, "member")
        first, again = await send(client, member, title), await send(client, member, title)

    assert first.status_code == again.status_code == status
    assert "idempotent-replayed" not in again.headers
    assert "CANARY" not in first.text
    assert count(place, acme) == count(place, acme, "idempotency_keys") == 0


async def test_a_refusal_that_is_kept_shows_the_path_as_the_reference_that_it_is(
    place: Place, issuer: Issuer, acme: str
) -> None:
    router = Router(prefix="/api/pens")

    @router.post("/{pen}", dependencies=[requires("pens:write"), idempotent()])
    async def fill(pen: int, tx: Tx) -> None:
        """No text is a number."""

    app = create_app(place.settings("pen-service"), routers=[router], keys=issuer.keys)
    async with running(app) as client:
        fields = {**issuer.bearer(acme, "member"), "idempotency-key": "k1"}
        refused = [await client.post("/api/pens/%257%C3%A9", headers=fields) for _ in range(2)]

    assert [one.status_code for one in refused] == [400, 400]
    assert refused[1].headers["idempotent-replayed"] == "true"
    assert {one.json()["instance"] for one in refused} == {"/api/pens/%257%C3%A9"}


async def test_without_a_key_every_request_happens(
    notes_app: Any, place: Place, issuer: Issuer, acme: str
) -> None:
    async with running(notes_app()) as client:
        member = issuer.bearer(acme, "member")
        first, again = await send(client, member, "a", None), await send(client, member, "b", None)

    assert first.status_code == again.status_code == 201
    assert count(place, acme) == 2
    assert count(place, acme, "idempotency_keys") == 0


@pytest.mark.parametrize("key", ["", " ", "ä", "x" * 256, "a b"])
async def test_what_is_no_key_is_refused(
    notes_app: Any, place: Place, issuer: Issuer, acme: str, key: str
) -> None:
    async with running(notes_app()) as client:
        token = issuer.token(acme, "member")
        fields = [
            (b"authorization", f"Bearer {token}".encode()),
            (b"idempotency-key", key.encode("utf-8")),
        ]
        answer = await client.post("/api/notes", headers=fields, json={"title": "a"})

    assert (answer.status_code, answer.json()["code"]) == (400, "IDEMPOTENCY_KEY_INVALID")
    assert count(place, acme) == 0


async def test_of_twenty_at_once_one_happens_and_the_others_hear_of_it(
    notes_app: Any, place: Place, issuer: Issuer, acme: str
) -> None:
    async with running(notes_app()) as client:
        member = issuer.bearer(acme, "member")
        answers = await asyncio.gather(*(send(client, member, "a") for _ in range(20)))
        last = await send(client, member, "a")

    found = Counter(one.status_code for one in answers)
    assert set(found) <= {201, 409}
    assert len({one.content for one in answers if one.status_code == 201}) == 1
    busy = [one for one in answers if one.status_code == 409]
    assert all(one.json()["code"] == "REQUEST_IN_PROGRESS" for one in busy)
    assert all(one.headers["retry-after"] == "1" for one in busy)
    assert last.status_code == 201
    assert count(place, acme) == 1


async def test_while_the_first_one_runs_the_second_is_told_to_come_again(
    place: Place, issuer: Issuer, acme: str
) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()
    router = Router(prefix="/api/notes")

    @router.post("", dependencies=[requires("notes:write"), idempotent()])
    async def slow(tx: Tx) -> str:
        inside.set()
        await go_on.wait()
        return "done"

    app = create_app(place.settings("note-service"), routers=[router], keys=issuer.keys)
    async with running(app) as client, asyncio.timeout(30):
        member = issuer.bearer(acme, "member")
        first = asyncio.create_task(send(client, member, "a"))
        await inside.wait()
        second = await send(client, member, "a")
        go_on.set()
        third = (await first, await send(client, member, "a"))[1]

    assert second.status_code == 409
    assert (third.status_code, third.json()) == (200, "done")
    assert third.headers["idempotent-replayed"] == "true"


async def test_a_request_whose_client_went_away_leaves_nothing_half_done(
    place: Place, issuer: Issuer, acme: str
) -> None:
    inside = asyncio.Event()
    router = Router(prefix="/api/notes")

    @router.post("", dependencies=[requires("notes:write"), idempotent()])
    async def hangs(tx: Tx) -> str:
        await tx.execute("insert into notes (id, title) values (gen_random_uuid(), 'half')")
        inside.set()
        await asyncio.Event().wait()
        return "never"

    app = create_app(place.settings("note-service"), routers=[router], keys=issuer.keys)
    async with running(app) as client, asyncio.timeout(30):
        first = asyncio.create_task(send(client, issuer.bearer(acme, "member"), "a"))
        await inside.wait()
        first.cancel()
        await asyncio.wait({first})

    assert count(place, acme) == count(place, acme, "idempotency_keys") == 0


async def test_a_key_is_forgotten_after_a_day(
    notes_app: Any, place: Place, issuer: Issuer, acme: str
) -> None:
    async with running(notes_app()) as client:
        member = issuer.bearer(acme, "member")
        await send(client, member, "a", "old")
        await send(client, member, "b", "older")
        place.rows(
            f"update tenant_{acme}.idempotency_keys set created_at = now() - interval '25 h'"
        )
        again = await send(client, member, "c", "old")

    assert again.status_code == 201
    assert "idempotent-replayed" not in again.headers
    assert count(place, acme, "idempotency_keys") == 1  # the older one is gone


def test_a_route_without_a_transaction_cannot_offer_a_key() -> None:
    router = Router()

    with pytest.raises(TypeError, match="needs a Tx"):

        @router.post("/a", dependencies=[requires("notes:write"), idempotent()])
        async def create() -> None: ...
