from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from datetime import timedelta
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_config import ByteSize, Config, ConfigError, Env, Problem, Range, Secret, from_env
from mtenant_config.testing import MemoryConfig

Write = Callable[[str, str], Path]


class Level(Enum):
    DEBUG = "debug"
    INFO = "info"


class Priority(IntEnum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Replica:
    host: str
    weight: int = 1


@dataclass(frozen=True)
class Database:
    host: str = "localhost"
    port: Annotated[int, Range(1, 65535)] = 5432
    replica: Replica | None = None


@dataclass(frozen=True)
class Everything:
    text: str
    number: int
    ratio: float
    on: bool
    timeout: timedelta
    size: ByteSize
    password: Secret
    path: Path
    level: Level
    priority: Priority
    mode: Literal["json", "console", 3]
    hosts: list[str]
    ports: tuple[Annotated[int, Range(1, 65535)], ...]
    secrets: list[Secret]
    maybe: int | None
    older: Optional[str]  # noqa: UP045 - both spellings must work
    database: Database
    KIND: ClassVar[str] = "no field"
    _: KW_ONLY
    made: int = field(default=0, init=False)
    waits: tuple[timedelta, ...] = (timedelta(seconds=1),)
    extra: list[int] = field(default_factory=lambda: [1])


TEXTS = {
    "text": "",
    "number": "-5",
    "ratio": "0.5",
    "on": "yes",
    "timeout": "1h30m",
    "size": "512MiB",
    "password": "hunter2",
    "path": "/var/lib/crm",
    "level": "info",
    "priority": "HIGH",
    "mode": "3",
    "hosts": "a, b",
    "ports": "[1, 65535]",
    "secrets": "x,y",
    "maybe": "7",
    "older": "x",
    "database.port": "1",
    "waits": "1s,5m",
}
BOUND = Everything(
    text="",
    number=-5,
    ratio=0.5,
    on=True,
    timeout=timedelta(minutes=90),
    size=ByteSize(512 * 1024**2),
    password=Secret("hunter2"),
    path=Path("/var/lib/crm"),
    level=Level.INFO,
    priority=Priority.HIGH,
    mode=3,
    hosts=["a", "b"],
    ports=(1, 65535),
    secrets=[Secret("x"), Secret("y")],
    maybe=7,
    older="x",
    database=Database(port=1),
    waits=(timedelta(seconds=1), timedelta(minutes=5)),
)


def problem(call: Callable[[], object]) -> Problem:
    with pytest.raises(ConfigError) as caught:
        call()
    (found,) = caught.value.problems
    return found


def test_every_type_is_read_from_text() -> None:
    bound = MemoryConfig(TEXTS).bind(Everything)
    assert bound == BOUND
    assert type(bound.size) is ByteSize


def test_the_same_from_the_environment_alone() -> None:
    environ = {key.upper().replace(".", "__"): text for key, text in TEXTS.items()}
    assert from_env(Everything, environ=environ) == BOUND
    assert (
        from_env(Everything, prefix="CRM", environ={f"CRM_{k}": v for k, v in environ.items()})
        == BOUND
    )


def test_every_type_is_read_from_values_that_have_it() -> None:
    typed = {name: getattr(BOUND, name) for name in TEXTS if "." not in name}
    assert MemoryConfig({**typed, "database": {"port": 1}}).bind(Everything) == BOUND


def test_the_types_of_a_file_are_respected(write: Write) -> None:
    @dataclass(frozen=True)
    class Typed:
        count: int

    def bind(toml: str) -> Typed:
        file = write("s.toml", f"count = {toml}\n")
        return Config.load("CRM", files=[file], environ={}).bind(Typed)

    assert bind("5") == bind('"5"') == Typed(5)
    for toml in ("5.0", "true", "[5]", "2024-01-01", '""', "{ a = 1 }"):
        with pytest.raises(ConfigError):
            bind(toml)


INVALID: list[tuple[str, object, str, str | None]] = [
    ("number", "1_000", "expected an int, got '1_000'", "did you mean '1000'?"),
    ("number", "12345 #abc", "expected an int, got '12345 #abc'", None),
    ("on", "", "expected a bool (true, false, 1, 0, yes, no, on or off), got ''", None),
    ("timeout", "5", "expected a duration such as '30s', '5m' or '1h30m', got '5'", "did you mean '5s'?"),
    ("size", "5", "expected a size such as '512MiB' or '10MB', got '5'", "did you mean '5B'?"),
    ("level", "infos", "expected one of debug, info, got 'infos'", "did you mean 'info'?"),
    ("level", 5, "expected one of debug, info, got 5", None),
    ("priority", "3", "expected one of 1, 2, got '3'", None),
    ("mode", "jsno", "expected one of json, console, 3, got 'jsno'", "did you mean 'json'?"),
    ("mode", True, "expected one of json, console, 3, got true", None),
    ("path", "", "expected a path, got ''", None),
    ("path", "a\0b", "expected a path, got 'a\\x00b'", None),
    ("text", 1.1, "expected a string, got 1.1", "put it in quotes"),
    ("maybe", "", "expected an int, got ''", None),
    ("hosts", {}, "", None),
    ("ports", "1, 0", "expected a list, each item an int from 1 to 65535, got '1, 0'",
     "item 2 is not an int from 1 to 65535"),
    ("ports", "1, 1_0", "expected a list, each item an int from 1 to 65535, got '1, 1_0'",
     "item 2 is not an int from 1 to 65535; did you mean '10'?"),
    ("database.port", "70000", "expected an int from 1 to 65535, got '70000'", None),
    ("number", "x" * 60, "expected an int", None),
    ("number", "postgresql://crm:hunter2@db", "expected an int", None),
    ("number", [1], "expected an int, got a list", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "message", "suggestion"), INVALID, ids=map(str, range(len(INVALID)))
)
def test_a_refused_value_is_reported(
    key: str, value: object, message: str, suggestion: str | None
) -> None:
    found = problem(lambda: MemoryConfig({**TEXTS, key: value}).bind(Everything))
    if not message:  # an empty table sets nothing
        assert found.kind == "missing"
        return
    assert (found.key, found.kind) == (key, "invalid")
    assert (found.message, found.suggestion) == (message, suggestion)
    assert found.expected
    assert found.origin == "MemoryConfig"


def test_defaults_are_used_where_nothing_is_set() -> None:
    bound = MemoryConfig({}).bind(Database)
    assert bound == Database()


def test_null_is_none_only_for_a_field_that_may_be_none() -> None:
    @dataclass(frozen=True)
    class Nullable:
        maybe: int | None = 5
        always: int = 6

    assert MemoryConfig({"maybe": None, "always": None}).bind(Nullable) == Nullable(None, 6)


def test_a_section_that_may_be_absent_is_made_when_anything_in_it_is_set() -> None:
    assert MemoryConfig({}).bind(Database).replica is None
    assert MemoryConfig({"replica.host": "x"}).bind(Database).replica == Replica("x")
    found = problem(lambda: MemoryConfig({"replica.weight": "2"}).bind(Database))
    assert (found.key, found.kind) == ("replica.host", "missing")


@dataclass(frozen=True)
class WithDefaultSection:
    replica: Replica = Replica("default", 7)
    databases: Database = field(default_factory=lambda: Database(replica=Replica("inner", 8)))


def test_what_is_set_in_a_section_changes_its_default_and_nothing_else() -> None:
    assert MemoryConfig({}).bind(WithDefaultSection) == WithDefaultSection()
    bound = MemoryConfig({"replica.host": "x", "databases.replica.weight": "9"})
    assert bound.bind(WithDefaultSection) == WithDefaultSection(
        Replica("x", 7), Database(replica=Replica("inner", 9))
    )


def test_a_default_section_may_hold_what_no_text_could_say() -> None:
    @dataclass(frozen=True)
    class Odd:
        replica: Replica = Replica("x", weight=-1)

    assert MemoryConfig({}).bind(Odd).replica.weight == -1


EMPTY = Secret("")


@dataclass(frozen=True)
class CrossChecked:
    minimum: int = 1
    maximum: int = 5
    password: Secret = EMPTY

    def __post_init__(self) -> None:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum is above maximum, password {self.password.reveal()}")


@dataclass(frozen=True)
class Outer:
    inner: CrossChecked
    port: int = 1
    keys: tuple[Secret, ...] = ()

    def __post_init__(self) -> None:
        if self.port == 13:
            raise ValueError(" ".join(key.reveal() for key in (self.inner.password, *self.keys)))


def test_a_check_across_fields_lands_in_the_same_error() -> None:
    values = {"inner.minimum": "9", "port": "x", "inner.password": "canary-9f3b"}
    with pytest.raises(ConfigError) as caught:
        MemoryConfig(values).bind(Outer)
    first, second = caught.value.problems
    assert (first.key, second.key) == ("port", "inner")
    assert second.message == "minimum is above maximum, password ***"
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_the_words_of_a_check_show_no_secret_of_any_section() -> None:
    values = {"inner.password": "canary-1", "keys": "canary-2, canary-22", "port": "13"}
    found = problem(lambda: MemoryConfig(values).bind(Outer))
    assert (found.key, found.message) == ("Outer", "*** *** ***")


def test_a_default_section_is_taken_as_it_is() -> None:
    @dataclass(frozen=True)
    class Special(Replica):
        extra: int = 5

    special = Special("x")

    @dataclass(frozen=True)
    class Holder:
        replica: Replica = special

    assert MemoryConfig({}).bind(Holder).replica is special
    assert MemoryConfig({"replica.weight": "2"}).bind(Holder).replica == Replica("x", 2)


def test_a_check_without_words_is_still_a_problem() -> None:
    @dataclass(frozen=True)
    class Mute:
        port: int = 1

        def __post_init__(self) -> None:
            raise ValueError

    found = problem(lambda: MemoryConfig({}).bind(Mute))
    assert (found.key, found.message) == ("Mute", "the values do not fit together")


def test_other_exceptions_of_a_class_are_its_own() -> None:
    @dataclass(frozen=True)
    class Broken:
        port: int = 1

        def __post_init__(self) -> None:
            raise KeyError("a fault of the program")

    with pytest.raises(KeyError):
        MemoryConfig({}).bind(Broken)


@dataclass
class NotFrozen:
    port: int = 1


class NoDataclass:
    port: int = 1


@dataclass(frozen=True)
class TwoSpellings:
    maxConns: int = 1
    max_conns: int = 1


@dataclass(frozen=True)
class TwoUnderscores:
    max__conns: int = 1


@dataclass(frozen=True)
class Trailing:
    class_: Replica = Replica("x")


@dataclass(frozen=True)
class RangeOfText:
    name: Annotated[str, Range(1, 5)] = ""


@dataclass(frozen=True)
class RangeOfAnotherType:
    timeout: Annotated[timedelta, Range(1, 5)] = timedelta(0)


@dataclass(frozen=True)
class EmptyRange:
    port: Annotated[int, Range()] = 1


@dataclass(frozen=True)
class Itself:
    inner: Itself | None = None


@dataclass(frozen=True)
class Unresolved:
    port: NoSuchName  # type: ignore[name-defined]  # noqa: F821 - what is tried


@pytest.mark.parametrize(
    "cls",
    [
        NotFrozen,
        NoDataclass,
        TwoSpellings,
        TwoUnderscores,
        Trailing,
        RangeOfText,
        RangeOfAnotherType,
        EmptyRange,
        Itself,
        Unresolved,
        5,
    ],
)
def test_a_class_that_is_no_settings_class_is_a_fault_of_the_program(cls: Any) -> None:
    with pytest.raises(TypeError):
        MemoryConfig({}).bind(cls)


@pytest.mark.parametrize(
    "hint",
    [dict[str, str], object, Any, bytes, int | str, set[str], tuple[int, str], complex, list, None],
    ids=str,
)
def test_a_type_that_no_text_can_be_is_a_fault_of_the_program(hint: Any) -> None:
    cls: Any = dataclass(frozen=True)(type("Settings", (), {"__annotations__": {"value": hint}}))
    with pytest.raises(TypeError, match=r"Settings\.value has the type"):
        MemoryConfig({"value": "x"}).bind(cls)


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "words"),
    [
        (Range(1, 5), ["1", "5"], ["0", "6"], "an int from 1 to 5"),
        (Range(1), ["1", "99"], ["0"], "an int at least 1"),
        (Range(maximum=5), ["-9", "5"], ["6"], "an int at most 5"),
    ],
)
def test_a_range_includes_its_ends(
    bounds: Range, inside: list[str], outside: list[str], words: str
) -> None:
    annotations = {"value": Annotated[int, bounds]}
    cls: Any = dataclass(frozen=True)(type("Settings", (), {"__annotations__": annotations}))
    for text in inside:
        assert MemoryConfig({"value": text}).bind(cls).value == int(text)
    for text in outside:
        found = problem(lambda text=text: MemoryConfig({"value": text}).bind(cls))  # type: ignore[misc] # a default binds the loop's value
        assert found.expected == words


def test_a_range_of_durations_is_written_with_units() -> None:
    @dataclass(frozen=True)
    class Timed:
        timeout: Annotated[timedelta, Range(timedelta(0), timedelta(hours=1))]

    found = problem(lambda: MemoryConfig({"timeout": "-5s"}).bind(Timed))
    assert found.message.endswith("from 0s to 1h, got '-5s'")


def test_env_takes_the_name_of_a_variable() -> None:
    for name in ("", "A-B", "1A", "A B", "A=B"):
        with pytest.raises(ValueError, match="no name"):
            Env(name)


# --- what nobody reads --------------------------------------------------------------------------


@dataclass(frozen=True)
class App:
    port: int = 8080
    db: Database = Database()


def strangers(
    write: Write, toml: str, environ: dict[str, str] | None = None, at: str | None = None
) -> list[Problem]:
    file = write("s.toml", toml)
    config = Config.load("CRM", files=[file], environ=environ or {})
    try:
        config.bind(Database if at else App, at)
    except ConfigError as error:
        return list(error.problems)
    return []


def test_an_unknown_key_of_a_file_is_reported_with_its_line_and_what_was_meant(
    write: Write,
) -> None:
    (found,) = strangers(write, "port = 1\n[db]\nhots = 'x'\n")
    assert (found.key, found.kind, found.suggestion) == (
        "db.hots",
        "unknown",
        "did you mean db.host?",
    )
    assert found.origin
    assert found.origin.endswith("s.toml:3")


def test_an_unknown_key_is_reported_in_every_file_that_has_it(write: Write) -> None:
    low, high = write("low.toml", "prot = 1\n"), write("high.toml", "prot = 1\n")
    config = Config.load("CRM", files=[low, high], environ={})
    with pytest.raises(ConfigError) as caught:
        config.bind(App)
    assert [p.origin for p in caught.value.problems] == [f"{low}:1", f"{high}:1"]


def test_only_the_bound_section_is_looked_at(write: Write) -> None:
    assert strangers(write, "other = 1\n[db]\nport = 1\n", at="db") == []
    assert strangers(write, "other = 1\n[db]\nprot = 1\n", at="db")[0].key == "db.prot"


def test_a_value_where_a_section_belongs_and_the_other_way_round(write: Write) -> None:
    (found,) = strangers(write, "db = 'x'\n")
    assert (found.key, found.message) == ("db", "is a section, not a value")
    (found,) = strangers(write, "db = 'x'\n", at="db")
    assert (found.key, found.message) == ("db", "is a section, not a value")
    (found,) = strangers(write, "[port]\nhttp = 1\n")
    assert (found.key, found.message) == ("port.http", "port is a value, not a section")


def test_an_unknown_null_says_nothing(write: Write) -> None:
    file = write("s.yaml", "unknown: ~\n")
    assert Config.load("CRM", files=[file], environ={}).bind(App) == App()


@pytest.mark.parametrize("name", ["CRM_DB_HOST", "CRM_DB__Host", "crm_db__host", "CRM_D_B__HOST"])
def test_a_variable_of_ours_that_differs_in_separators_or_case_is_reported(
    write: Write, name: str
) -> None:
    (found,) = strangers(write, "", {name: "canary"})
    assert (found.key, found.kind) == (name, "unknown")
    assert found.suggestion == "did you mean CRM_DB__HOST?"
    assert "canary" not in str(found)


def test_a_misspelt_reference_to_a_file_is_reported(write: Write) -> None:
    (found,) = strangers(write, "", {"CRM_DB_HOST_FILE": "/run/secrets/host"})
    assert found.suggestion == "did you mean CRM_DB__HOST_FILE?"


def test_a_misspelt_variable_of_a_dotenv_file_is_reported_with_its_line(write: Write) -> None:
    dotenv = write(".env", "\nCRM_DB_HOST=x\n")
    found = problem(lambda: Config.load("CRM", dotenv=dotenv, environ={}).bind(App))
    assert (found.key, found.origin) == ("CRM_DB_HOST", f"{dotenv}:2")


@pytest.mark.parametrize(
    "name",
    [
        "CRM_SERVICE_HOST", "CRM_PORT_8080_TCP", "CRM_UNRELATED", "CRM_DB__UNRELATED", "CRM_", "CRM",
        "CRM_DB__HOST_FILE_OTHER", "PORT", "DB_HOST", "CRM____",
    ],
)  # fmt: skip
def test_variables_of_others_are_left_alone(write: Write, name: str) -> None:
    assert strangers(write, "", {name: "x"}) == []


@pytest.mark.parametrize(
    "name",
    [
        "CRM_REPLICAHOST",
        "CRM_REPLICA_HOST",
        "REPLICA__HOST",
        "CRN_REPLICA__HOST",
        "crm_replica__host",
    ],
)
def test_a_missing_setting_names_the_variable_that_was_probably_meant(name: str) -> None:
    @dataclass(frozen=True)
    class Needs:
        replica: Replica

    with pytest.raises(ConfigError) as caught:
        Config.load("CRM", environ={name: "canary"}).bind(Needs)
    missing = next(p for p in caught.value.problems if p.kind == "missing")
    assert missing.suggestion == (
        f"set CRM_REPLICA__HOST; {name} is set: did you mean CRM_REPLICA__HOST?"
    )
    assert "canary" not in str(caught.value)


def test_a_missing_setting_names_the_variable_and_the_file(write: Write) -> None:
    file = write("s.toml", "")
    found = problem(lambda: Config.load("CRM", files=[file], environ={}).bind(Replica))
    assert found.suggestion == f"set CRM_HOST, or host in {file}"


WORDS = st.sampled_from(["port", "db_port", "db.port", "hot", "x", "db.replica.host", "db.replica"])


@given(st.dictionaries(WORDS, st.text(max_size=5), max_size=4))
def test_any_variables_bind_or_are_reported(values: dict[str, str]) -> None:
    environ = {f"CRM_{key.upper().replace('.', '__')}": text for key, text in values.items()}
    try:
        Config.load("CRM", environ=environ).bind(App)
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - either way is right
