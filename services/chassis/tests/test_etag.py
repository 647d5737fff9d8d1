from __future__ import annotations

import asyncio
from typing import Any

import httpx2 as httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_chassis.etag import parse_tags
from mtenant_chassis.testing import Issuer, running

pytestmark = pytest.mark.anyio


async def make(client: httpx.AsyncClient, headers: dict[str, str], title: str = "a") -> str:
    answer = await client.post("/api/notes", headers=headers, json={"title": title})
    return f"/api/notes/{answer.json()['id']}"


@pytest.mark.parametrize(
    ("field", "status"),
    [
        (None, 200),
        ('"v1"', 200),
        ("*", 200),
        ('"v0", "v1"', 200),
        (' "v0" ,"v1"', 200),
        ('"v0"', 412),
        ('W/"v1"', 412),
        ("v1", 400),
        ('"v1', 400),
        ('"v1" "v2"', 400),
        ("", 412),
        ('"v1",', 400),
    ],
)
async def test_a_change_is_of_the_version_that_was_read(
    notes_app: Any, issuer: Issuer, acme: str, field: str | None, status: int
) -> None:
    async with running(notes_app()) as client:
        owner = issuer.bearer(acme, "owner")
        path = await make(client, owner)
        headers = owner if field is None else {**owner, "if-match": field}
        answer = await client.patch(path, headers=headers, json={"title": "b"})

    assert answer.status_code == status, answer.text


async def test_of_ten_changes_of_one_version_one_wins(
    notes_app: Any, issuer: Issuer, acme: str
) -> None:
    async with running(notes_app()) as client:
        owner = {**issuer.bearer(acme, "owner"), "if-match": '"v1"'}
        path = await make(client, owner)
        answers = await asyncio.gather(
            *(client.patch(path, headers=owner, json={"title": f"b{n}"}) for n in range(10))
        )

    assert sorted(one.status_code for one in answers) == [200, *[412] * 9]
    assert {one.json()["code"] for one in answers if one.status_code == 412} == {"VERSION_MISMATCH"}


async def test_a_change_that_must_say_its_version_is_428_without(
    notes_app: Any, issuer: Issuer, acme: str
) -> None:
    async with running(notes_app()) as client:
        owner = issuer.bearer(acme, "owner")
        path = await make(client, owner)
        without = await client.delete(path, headers=owner)
        with_it = await client.delete(path, headers={**owner, "if-match": '"v1"'})

    assert (without.status_code, without.json()["code"]) == (428, "IF_MATCH_REQUIRED")
    assert with_it.status_code == 204
    assert with_it.content == b""


@pytest.mark.parametrize(
    ("field", "status"),
    [
        ('"v1"', 304),
        ('W/"v1"', 304),
        ('"v0", "v1"', 304),
        ("*", 304),
        ('"v2"', 200),
        ("nonsense", 200),
        ("", 200),
    ],
)
async def test_what_the_client_has_is_not_sent_again(
    notes_app: Any, issuer: Issuer, acme: str, field: str, status: int
) -> None:
    async with running(notes_app()) as client:
        owner = issuer.bearer(acme, "owner")
        path = await make(client, owner)
        answer = await client.get(path, headers={**owner, "if-none-match": field})

    assert answer.status_code == status
    assert answer.headers["etag"] == '"v1"'
    assert (answer.content == b"") == (status == 304)


async def test_static_data_may_be_kept_by_its_client(
    notes_app: Any, issuer: Issuer, acme: str
) -> None:
    async with running(notes_app()) as client:
        owner = issuer.bearer(acme, "owner")
        first = await client.get("/api/notes/static", headers=owner)
        tag = first.headers["etag"]
        again = await client.get("/api/notes/static", headers={**owner, "if-none-match": tag})

    assert first.headers["cache-control"] == "private, max-age=60"
    assert first.headers["vary"] == "Authorization"
    assert again.status_code == 304
    assert again.headers["cache-control"] == "private, max-age=60"


@given(st.text(max_size=100))
def test_no_text_breaks_the_list_of_tags(text: str) -> None:
    parse_tags(text)


@given(st.lists(st.tuples(st.booleans(), st.text("abc!#~", max_size=5)), min_size=1, max_size=5))
def test_a_list_of_tags_is_read_as_it_is_written(tags: list[tuple[bool, str]]) -> None:
    written = [(weak, f'"{text}"') for weak, text in tags]

    assert parse_tags(", ".join(("W/" if weak else "") + tag for weak, tag in written)) == written
