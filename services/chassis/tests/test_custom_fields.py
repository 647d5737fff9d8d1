"""Custom fields without a service: which values are one's, and what the document says of entities."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_chassis import Settings, create_app
from mtenant_chassis.custom_fields import (
    CustomField,
    CustomValuesInvalid,
    FieldTable,
    FieldType,
    Holders,
    check_values,
    custom_fields_router,
)
from mtenant_database import DatabaseConfig

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def field(of: FieldType, key: str = "k") -> CustomField:
    choices = ["S", "M"] if of == "choice" else None
    return CustomField(UUID(int=1), "note", key, key, of, choices, NOW, NOW, 1)


written = st.one_of(
    st.text(),
    st.sampled_from(["true", "FALSE", "2024-02-29", "20240229", "S", "1_0", "nan", "1e999"]),
    st.integers().map(str),
    st.floats().map(str),
    st.dates().map(str),
)


@given(st.sampled_from(get_args(FieldType)), written)
def test_what_a_text_is_read_as_is_a_value_of_the_field(of: FieldType, text: str) -> None:
    one = field(of)
    try:
        value = one.parse(text)
    except ValueError:
        return
    assert one.fault(value) is None
    assert check_values([one], {"k": value}) == ({} if value == "" else {"k": value})


@pytest.mark.parametrize(
    ("of", "before", "now"),
    [("boolean", False, 0), ("number", 1, True), ("text", "1", 1), ("choice", "S", "L")],
)
def test_a_value_that_only_looks_like_the_one_before_is_judged(
    of: FieldType, before: object, now: object
) -> None:
    with pytest.raises(CustomValuesInvalid) as caught:
        check_values([field(of)], {"k": now}, {"k": before})
    assert [one["pointer"] for one in caught.value.errors or ()] == ["#/custom/k"]


def test_a_value_that_was_there_stays_and_a_new_one_of_its_kind_is_refused() -> None:
    assert check_values([field("choice")], {"k": "XL"}, {"k": "XL"}) == {"k": "XL"}
    with pytest.raises(CustomValuesInvalid):
        check_values([field("choice")], {"k": "XL"}, {"k": "S"})


async def never(*_: object) -> bool:
    return False


@pytest.mark.parametrize(
    ("entities", "names", "entity"),
    [
        (("note",), "notes", {"const": "note", "default": "note"}),
        (("note", "book"), "notes or books", {"enum": ["note", "book"]}),
    ],
)
def test_an_entity_that_is_the_only_one_need_not_be_said(
    entities: tuple[str, ...], names: str, entity: dict[str, Any]
) -> None:
    table = FieldTable("note_fields")
    holders = Holders(entities=entities, names=names, table=table, is_in_use=never)
    settings = Settings(service="note-service", database=DatabaseConfig(name="crm"))
    routers = [custom_fields_router("/api/note-fields", holders)]
    document = create_app(settings, routers=routers).openapi()

    asked = document["components"]["schemas"]["NewCustomField"]
    assert asked["description"] == f"A field that {names} should have."
    assert asked["properties"]["entity"].items() >= entity.items()
    assert ("entity" in asked["required"]) == (len(entities) > 1)
    shown = document["components"]["schemas"]["CustomFieldView"]
    assert "entity" in shown["required"]
    post = document["paths"]["/api/note-fields"]["post"]
    assert post["description"] == f"Let {names} have a further field."
    assert post["x-permission"] == "custom-fields:manage"
