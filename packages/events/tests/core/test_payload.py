from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtenant_events import Registry, event_type
from mtenant_events.payload import Unfit, builder, plain
from mtenant_events.registry import type_of

T = TypeVar("T")
DealId = NewType("DealId", str)


class Stage(Enum):
    OPEN = "open"
    WON = "won"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Line:
    name: str
    price: Decimal


@dataclass(frozen=True)
class Deal:
    """One of everything."""

    id: DealId
    amount: Decimal
    count: int
    share: float
    open: bool
    stage: Stage
    level: Level
    kind: Literal["new", "old", 7]
    made_at: datetime
    day: date
    hour: time
    token: UUID
    raw: bytes
    lines: tuple[Line, ...]
    pair: tuple[str, int]
    tags: frozenset[str]
    names: list[str]
    more: Mapping[str, int]
    order: Sequence[int]
    note: str | None
    either: int | str
    limited: Annotated[int, "positive"]
    anything: Any
    optional: str = "default"
    made: list[int] = field(default_factory=list)
    computed: int = field(init=False, default=3)


def written(value: object) -> Any:
    return json.loads(json.dumps(value, default=plain))


def offset(minutes: int) -> timezone:
    return timezone(timedelta(minutes=minutes))


LINES = st.builds(Line, st.text(), st.decimals(allow_nan=False, allow_infinity=False))
DEALS = st.builds(
    Deal,
    id=st.text().map(DealId),
    amount=st.decimals(allow_nan=False, allow_infinity=False),
    share=st.floats(allow_nan=False, allow_infinity=False),
    made_at=st.datetimes(timezones=st.integers(-1439, 1439).map(offset)),
    lines=st.lists(LINES, max_size=3).map(tuple),
    order=st.lists(st.integers(), max_size=3).map(tuple),
    tags=st.frozensets(st.text(), max_size=3),
    anything=st.one_of(st.none(), st.integers(), st.text(), st.lists(st.booleans())),
    either=st.one_of(st.integers(), st.text()),
)


@settings(max_examples=50)
@given(DEALS)
def test_a_dataclass_becomes_json_and_itself_again(deal: Deal) -> None:
    again = builder(Deal)(written(deal))

    assert again == deal


def test_members_that_a_class_does_not_know_are_left_out() -> None:
    assert builder(Line)({"name": "n", "price": "1.10", "new": 1}) == Line("n", Decimal("1.10"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([], "expected an object"),
        ({"name": "n"}, "price: missing"),
        ({"name": 7, "price": "1"}, "name: expected str, got int"),
        ({"name": None, "price": "1"}, "name: expected str"),
        ({"name": "n", "price": "one"}, "price: expected a decimal"),
        ({"name": "n", "price": True}, "price: expected a decimal"),
        ({"name": "n", "price": [1]}, "price: expected a decimal"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(value: object, text: str) -> None:
    with pytest.raises(Unfit, match=text):
        builder(Line)(value)


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (int, True),
        (int, 1.0),
        (int, "1"),
        (bool, 1),
        (float, "1"),
        (float, 10**400),
        (str, 1),
        (UUID, "no"),
        (datetime, "yesterday"),
        (date, 7),
        (bytes, "*"),
        (Stage, "lost"),
        (Level, "1"),
        (Level, True),
        (Literal["a"], "b"),
        (int | None, "x"),
        (list[int], {}),
        (list[int], [1, "2"]),
        (tuple[int, str], [1]),
        (dict[str, int], {"a": "b"}),
        (dict[str, int], []),
    ],
)
def test_nothing_is_folded(hint: Any, value: object) -> None:
    @dataclass
    class Holder:
        value: hint

    Holder.__annotations__["value"] = hint
    with pytest.raises(Unfit):
        builder(Holder)({"value": value})


def test_a_class_that_refuses_a_value_does_not_quote_it() -> None:
    with pytest.raises(Unfit) as caught:
        builder(Picky)({"password": "hunter2"})

    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@dataclass
class Picky:
    password: str

    def __post_init__(self) -> None:
        raise RuntimeError(f"{self.password} is bad")


@dataclass
class Page(Generic[T]):
    items: list[T]


def test_a_generic_class_takes_what_comes() -> None:
    assert builder(Page)({"items": [1, "a"]}) == Page([1, "a"])


@dataclass
class NoText:
    value: complex


@dataclass
class NoKeys:
    value: dict[int, str]


@pytest.mark.parametrize("cls", [NoText, NoKeys, int, "text"])
def test_a_class_that_json_cannot_make_is_refused_when_it_is_named(cls: Any) -> None:
    with pytest.raises(TypeError):
        builder(cls)


class Struct(msgspec.Struct, frozen=True):
    name: str
    price: Decimal
    at: datetime


class Model(pydantic.BaseModel):
    name: str
    price: Decimal
    at: datetime


@pytest.mark.parametrize("cls", [Struct, Model])
def test_a_struct_and_a_model_become_json_and_themselves_again(cls: Any) -> None:
    made = cls(name="n", price=Decimal("1.10"), at=datetime.fromisoformat("2026-01-01T00:00:00Z"))

    assert written(made)["price"] == "1.10"
    assert builder(cls)(written(made)) == made


@pytest.mark.parametrize("cls", [Struct, Model])
def test_a_struct_and_a_model_that_refuse_do_not_quote(cls: Any) -> None:
    with pytest.raises(Unfit) as caught:
        builder(cls)({"name": "n", "price": "hunter2", "at": "hunter2"})

    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@dataclass
class Mixed:
    struct: Struct
    models: list[Model]


def test_a_dataclass_may_hold_the_others() -> None:
    at = datetime.fromisoformat("2026-01-01T00:00:00Z")
    mixed = Mixed(Struct("n", Decimal(1), at), [Model(name="m", price=Decimal(2), at=at)])

    assert builder(Mixed)(written(mixed)) == mixed


def test_what_json_does_not_have_is_told_by_its_type_alone() -> None:
    with pytest.raises(TypeError, match=r"^object cannot be written as JSON$"):
        plain(object())


@event_type("line.added")
@dataclass
class LineAdded:
    name: str


@event_type("line.added")
@dataclass
class Impostor:
    name: str


@dataclass
class Heir(LineAdded):
    pass


def test_a_type_has_one_class() -> None:
    registry = Registry([LineAdded, LineAdded])

    assert registry.class_of("line.added") is LineAdded
    assert registry.class_of("line.removed") is None
    with pytest.raises(ValueError, match=r"both 'line.added'"):
        registry.add(Impostor)


def test_a_subclass_has_no_name_of_its_base() -> None:
    with pytest.raises(TypeError, match="@event_type"):
        type_of(Heir)


def test_a_bad_name_is_refused_where_it_stands() -> None:
    with pytest.raises(ValueError, match="no event type"):
        event_type("line")


def test_a_slotted_dataclass_keeps_its_name_in_both_orders() -> None:
    @dataclass(slots=True)
    @event_type("line.added")
    class Inside:
        name: str

    @event_type("line.added")
    @dataclass(slots=True)
    class Outside:
        name: str

    assert type_of(Inside) == type_of(Outside) == "line.added"


def test_none_of_the_libraries_for_payloads_is_imported() -> None:
    program = "import sys, mtenant_events; print([n for n in ('msgspec','pydantic','psycopg','dynaconf','consumer') if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stdout.strip() == "[]"
