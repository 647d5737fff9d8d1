from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mtenant_config import Secret
from mtenant_database.migrate import suspend

pytestmark = pytest.mark.anyio

PEOPLE: list[dict[str, Any]] = [
    {"first_name": "Zoë", "last_name": "Müller", "email": "zoe@example.com", "status": "active"},
    {"first_name": "Ada", "last_name": "Lovelace", "job_title": "Analyst", "phone": "+44 20 1"},
    {"first_name": "Grace", "last_name": "Hopper", "email": "hopper@navy.example.org"},
    {"first_name": "Ada", "last_name": "Byron", "custom": {"team": "Difference Engine"}},
]


@pytest.fixture
async def people(client: Any) -> Any:
    await client.field("team")
    await client.field("floor", "number")
    for one in PEOPLE:
        await client.contact(**one)
    return client


def names(found: list[dict[str, Any]]) -> list[str]:
    return [one["last_name"] for one in found]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("ada", {"Lovelace", "Byron"}),
        ("ADA lov", {"Lovelace"}),
        ("lov ad", {"Lovelace"}),
        ("muller", {"Müller"}),
        ("MÜLL", {"Müller"}),
        ("zoe@example.com", {"Müller"}),
        ("example", {"Müller", "Hopper"}),
        ("analy", {"Lovelace"}),
        ("44", {"Lovelace"}),
        ("engine", {"Byron"}),
        ("lace", set()),
        ("&|!()':*<->", set()),
        ("", set()),
    ],
)
async def test_words_are_found_by_their_beginnings_without_case_and_accents(
    people: Any, typed: str, found: set[str]
) -> None:
    assert set(names(await people.contacts(q=typed))) == found
    listed = await people.get("/api/contacts/export", params={"q": typed, "format": "ndjson"})
    assert len(listed.text.splitlines()) == len(found)


async def test_filters_hold_together(people: Any) -> None:
    company = await people.company()
    (zoe,) = await people.contacts(q="zoe")
    path = f"/api/contacts/{zoe['id']}"
    patch = {"company_id": company["id"], "custom": {"floor": 3}, "owner_id": "u1"}
    assert (await people.ask("PATCH", path, json=patch)).status_code == 200
    for params in (
        {"status": "active"},
        {"company_id": company["id"]},
        {"owner_id": "u1"},
        {"email": "ZOE@example.com"},
        {"custom.floor": "3"},
        {"custom.floor": "3.0", "q": "zo", "status": "active"},
        {"created_after": zoe["created_at"], "created_before": "2999-01-01T00:00:00Z", "q": "zo"},
        {"updated_after": zoe["created_at"], "q": "zo"},
    ):
        assert names(await people.contacts(**params)) == ["Müller"], params
    assert await people.contacts(**{"custom.floor": "4"}) == []
    assert await people.contacts(created_before=zoe["created_at"]) == []
    for params in ({"custom.floor": "x"}, {"custom.nothing": "1"}, {"custom.team": "a\0b"}):
        answer = await people.get("/api/contacts", params=params)
        assert (answer.status_code, answer.json()["code"]) == (400, "FILTER_INVALID")
    for params in ({"status": "x"}, {"sort": "email"}, {"created_after": "2020-01-01"}):
        assert (await people.get("/api/contacts", params=params)).status_code == 400
    nul = await people.get("/api/companies", params={"domain": "a\0.example.com"})
    assert (nul.status_code, nul.json()["code"]) == (400, "VALIDATION_FAILED")


@pytest.mark.parametrize("sort", ["created_at", "updated_at", "name"])
async def test_pages_of_any_order_have_every_contact_once(client: Any, sort: str) -> None:
    lines = "".join(f"N{n % 5},{'Same' if n % 2 else n}\n" for n in range(40))
    await client.upload(f"first_name,last_name\n{lines}".encode())  # all at one moment
    forth = await client.contacts(sort=sort, limit=7)
    back = await client.contacts(sort=f"-{sort}", limit=7)

    assert len({one["id"] for one in forth}) == 40
    assert [one["id"] for one in back] == [one["id"] for one in reversed(forth)]
    if sort == "name":
        keys = [f"{one['last_name']} {one['first_name']}".lower() for one in forth]
        assert keys == sorted(keys)
    page = await client.get("/api/contacts", params={"limit": 7, "sort": sort})
    other = {"limit": 7, "sort": f"-{sort}", "cursor": page.json()["next_cursor"]}
    assert (await client.get("/api/contacts", params=other)).json()["code"] == "CURSOR_INVALID"
    followed = await client.get(page.headers["link"].partition(">")[0][1:])
    assert followed.json()["items"][0]["id"] == forth[7]["id"]


async def test_a_tenant_that_is_suspended_has_no_cached_contacts_for_long(
    make_client: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_client(redis_url=Secret(redis_url)) as client:
        path = f"/api/contacts/{(await client.contact(first_name='Ada'))['id']}"
        found = [await client.get(path) for _ in range(3)]
        await suspend(client.place.owner, client.tenant, settings=client.place.migrate)
        monkeypatch.setattr("contact_service.handlers.lookup.RECHECK", 0.0)
        refused = await client.get(path)

    assert [one.status_code for one in found] == [200, 200, 200]
    assert (refused.status_code, refused.json()["code"]) == (403, "TENANT_SUSPENDED")


async def test_what_is_looked_up_is_kept_and_never_older_than_the_last_write(
    make_client: Any, redis_url: str
) -> None:
    async with make_client(redis_url=Secret(redis_url)) as client:
        ada = await client.contact(first_name="Ada")
        path = f"/api/contacts/{ada['id']}"
        cache = client.app.state.chassis.cache
        for _ in range(5):
            await client.get(path)
        assert (cache.hits, cache.misses) == (4, 1)

        async def write(n: int) -> None:
            assert (await client.ask("PATCH", path, json={"job_title": f"t{n}"})).status_code == 200

        async def read() -> None:
            seen = 0
            for _ in range(30):
                version = (await client.get(path)).json()["version"]
                assert version >= seen
                seen = version

        await asyncio.gather(*(write(n) for n in range(10)), *(read() for _ in range(4)))
        assert (await client.get(path)).json()["version"] == 11
        await client.ask("DELETE", path)
        assert (await client.get(path)).status_code == 404
        foreign = client.of(await client.place.new_tenant())
        back = await client.post(f"{path}/restore")
        assert (await client.get(path)).json() == back.json()
        assert (await foreign.get(path)).status_code == 404


async def test_an_etag_that_is_known_is_not_sent_again(client: Any) -> None:
    ada = await client.contact(first_name="Ada")
    path = f"/api/contacts/{ada['id']}"
    first = await client.get(path)
    second = await client.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (second.status_code, second.content) == (304, b"")
