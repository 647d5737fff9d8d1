from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from fastapi import Request, Response
from hypothesis import given
from hypothesis import strategies as st

from mtenant_chassis.pages import CursorInvalid, PageRequest, read_cursor, write_cursor
from mtenant_chassis.testing import Issuer, Place, running

pytestmark = pytest.mark.anyio


async def test_following_the_links_gives_every_row_once(
    notes_app: Any, place: Place, issuer: Issuer, acme: str
) -> None:
    place.rows(
        f"insert into tenant_{acme}.notes (id, title, created_at) select gen_random_uuid(), 'n' || n,"
        " timestamptz '2026-01-01' + (n / 3) * interval '1 s' from generate_series(1, 25) n"
    )
    found, pages = [], 0
    async with running(notes_app()) as client:
        member = issuer.bearer(acme, "member")
        url: str | None = "/api/notes?limit=7&like=n%25"
        while url:
            answer = await client.get(url, headers=member)
            pages += 1
            found += [note["title"] for note in answer.json()["items"]]
            following = answer.links.get("next", {}).get("url")
            assert (following is None) == (answer.json()["next_cursor"] is None)
            url = following

    assert pages == 4
    assert len(found) == 25
    assert set(found) == {f"n{n}" for n in range(1, 26)}


async def test_rows_that_come_and_go_meanwhile_shift_nothing(
    notes_app: Any, place: Place, issuer: Issuer, acme: str
) -> None:
    schema = f"tenant_{acme}"
    place.rows(
        f"insert into {schema}.notes (id, title, created_at) select gen_random_uuid(), 'n' || n,"
        " timestamptz '2026-01-01' + n * interval '1 s' from generate_series(1, 6) n"
    )
    async with running(notes_app()) as client:
        member = issuer.bearer(acme, "member")
        first = (await client.get("/api/notes?limit=3", headers=member)).json()
        place.rows(f"delete from {schema}.notes where title = 'n4'")
        place.rows(f"insert into {schema}.notes (id, title) values (gen_random_uuid(), 'newest')")
        rest = await client.get(
            "/api/notes", params={"limit": 3, "cursor": first["next_cursor"]}, headers=member
        )

    assert [note["title"] for note in first["items"]] == ["n6", "n5", "n4"]
    assert [note["title"] for note in rest.json()["items"]] == ["n3", "n2", "n1"]


async def test_a_cursor_of_another_filter_is_refused(
    notes_app: Any, place: Place, issuer: Issuer, acme: str
) -> None:
    place.rows(
        f"insert into tenant_{acme}.notes (id, title)"
        " select gen_random_uuid(), 'n' || n from generate_series(1, 3) n"
    )
    async with running(notes_app()) as client:
        member = issuer.bearer(acme, "member")
        cursor = (await client.get("/api/notes?limit=1", headers=member)).json()["next_cursor"]
        same = await client.get("/api/notes", params={"cursor": cursor}, headers=member)
        other = await client.get(
            "/api/notes", params={"cursor": cursor, "like": "n%"}, headers=member
        )

    assert same.status_code == 200
    assert (other.status_code, other.json()["code"]) == (400, "CURSOR_INVALID")


async def test_a_cursor_of_another_tenant_shows_only_the_own_rows(
    notes_app: Any, place: Place, issuer: Issuer, acme: str, other: str
) -> None:
    for tenant in (acme, other):
        place.rows(
            f"insert into tenant_{tenant}.notes (id, title)"
            f" select gen_random_uuid(), '{tenant}' || n from generate_series(1, 4) n"
        )
    async with running(notes_app()) as client:
        theirs = await client.get("/api/notes?limit=2", headers=issuer.bearer(other, "member"))
        cursor = theirs.json()["next_cursor"]
        ours = await client.get(
            "/api/notes", params={"cursor": cursor}, headers=issuer.bearer(acme, "member")
        )

    assert ours.status_code == 200
    assert other not in ours.text


async def test_the_items_of_all_pages_are_counted_when_that_is_asked_for(
    notes_app: Any, place: Place, issuer: Issuer, acme: str
) -> None:
    place.rows(
        f"insert into tenant_{acme}.notes (id, title)"
        " select gen_random_uuid(), 'n' || n from generate_series(1, 12) n"
    )
    async with running(notes_app()) as client:
        member = issuer.bearer(acme, "member")
        unasked = await client.get("/api/notes?limit=2", headers=member)
        url: str | None = "/api/notes?limit=2&like=n1%25&include_total=true"
        totals = []
        while url:
            answer = await client.get(url, headers=member)
            totals.append(answer.json()["total"])
            url = answer.links.get("next", {}).get("url")

    assert unasked.json()["total"] is None
    assert totals == [4, 4]


async def test_a_list_answers_with_the_members_that_are_asked_for(
    notes_app: Any, place: Place, issuer: Issuer, acme: str
) -> None:
    place.rows(
        f"insert into tenant_{acme}.notes (id, title)"
        " select gen_random_uuid(), 'n' || n from generate_series(1, 3) n"
    )
    async with running(notes_app()) as client:
        member = issuer.bearer(acme, "member")
        first = await client.get("/api/notes?limit=2&fields=title,version", headers=member)
        rest = await client.get(first.links["next"]["url"], headers=member)
        again = await client.get("/api/notes?fields=title&fields=version", headers=member)

    assert first.json()["items"] == [{"title": f"n{n}", "version": 1} for n in (3, 2)]
    assert first.json()["next_cursor"] is not None
    assert rest.json() == {
        "items": [{"title": "n1", "version": 1}],
        "next_cursor": None,
        "total": None,
    }
    assert again.json()["items"] == first.json()["items"] + rest.json()["items"]


@pytest.mark.parametrize("fields", ["", "titel", "title,", "title, version", "items", "title\n"])
async def test_members_that_items_do_not_have_are_refused_by_the_names_of_those_they_have(
    notes_app: Any, issuer: Issuer, acme: str, fields: str
) -> None:
    async with running(notes_app()) as client:
        answer = await client.get(
            "/api/notes", params={"fields": fields}, headers=issuer.bearer(acme, "member")
        )

    assert (answer.status_code, answer.json()["code"]) == (400, "FIELDS_INVALID")
    assert "id, title, version, created_at" in answer.json()["detail"]


def test_openapi_says_which_members_there_are_and_that_some_may_be_left_out(notes_app: Any) -> None:
    document = notes_app().openapi()
    operation = document["paths"]["/api/notes"]["get"]
    parameter = next(one for one in operation["parameters"] if one["name"] == "fields")
    schemas = document["components"]["schemas"]
    answers = operation["responses"]["200"]["content"]["application/json"]["schema"]["anyOf"]
    whole, some = (schemas[one["$ref"].rpartition("/")[2]] for one in answers)
    item, part = (
        schemas[one["properties"]["items"]["items"]["$ref"].rpartition("/")[2]]
        for one in (whole, some)
    )

    assert parameter["schema"]["items"]["enum"] == ["id", "title", "version", "created_at"]
    assert parameter["explode"] is False
    assert "required" in item
    assert "required" not in part
    assert item["properties"] == part["properties"]
    assert "fields" not in {
        one["name"] for one in document["paths"]["/api/notes/{note_id}"]["get"]["parameters"]
    }


@given(
    st.tuples(
        st.datetimes(timezones=st.just(UTC)),
        st.uuids(),
        st.integers(),
        st.text(),
        st.decimals(allow_nan=False, allow_infinity=False),
    )
)
def test_a_cursor_gives_back_its_keys(keys: tuple[Any, ...]) -> None:
    cursor = write_cursor(keys, "of")

    assert read_cursor(cursor, [datetime, UUID, int, str, Decimal], "of") == keys


@given(
    st.text(max_size=200)
    | st.binary(max_size=200).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
)
def test_what_is_no_cursor_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(CursorInvalid):
        read_cursor(text, [int], "of")


@pytest.mark.parametrize(
    "document",
    [{}, [], ["of"], ["of", "x"], ["of", 1, 2], ["other", 1], ["of", None], ["of", [1]], 7],
)
def test_a_cursor_with_other_members_is_refused(document: Any) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")
    with pytest.raises(CursorInvalid):
        read_cursor(cursor, [int], "of")


def test_a_page_of_nobody_knows_what_is_a_fault_of_the_program() -> None:
    request = PageRequest(Request({"type": "http"}), Response(), 10, None)
    with pytest.raises(RuntimeError, match=r"page\.after"):
        request.of([], key=lambda row: (), total=None)


def test_a_key_that_has_no_order_is_a_fault_of_the_program() -> None:
    with pytest.raises(TypeError, match="no key of type"):
        write_cursor([None], "of")
