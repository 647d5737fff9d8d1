"""Make a settings object of a source: every field parsed, every problem kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar, cast

from mtenant_config.grammar import Refused
from mtenant_config.names import FILE_SUFFIX, near, squash
from mtenant_config.problem import ConfigError, Problem
from mtenant_config.schema import FieldType, Leaf, Section, schema_of
from mtenant_config.secret import Secret, names_a_secret, without_secrets
from mtenant_config.setting import Setting, Unusable, is_secret_value
from mtenant_config.source import Source

T = TypeVar("T")

MAX_SHOWN = 40
"""Longest value that a problem quotes, in characters. What is longer is no slip of the finger."""


def bind(cls: type[T], source: Source, at: str = "") -> T:
    """Return an instance of a frozen dataclass made of a source.

    Raises:
        ConfigError: With every problem of every field.
        TypeError: The class is no frozen dataclass, or has a field that no text can be read as.
    """
    binder = _Binder(source, at, schema_of(cls))
    settings = binder.make(binder.schema)
    binder.find_strangers()
    # Raised here, outside every `except`, so that no cause or context can hold a value.
    if binder.problems:
        raise ConfigError(binder.problems)
    return cast("T", settings)


def converted(setting: Setting, kind: FieldType, *, secret: bool) -> tuple[object, Problem | None]:
    """Parse a setting; return its value, or the problem with it."""
    value = setting.value
    if isinstance(value, Unusable):
        return None, unusable(setting, value)
    try:
        return kind.parse(value), None
    except Refused as refused:
        expected, hint = refused.expected, refused.hint
    hidden = secret or kind.secret or is_secret_value(value)
    hidden = hidden or setting.is_secret_file or names_a_secret(setting.key)
    quoted = "" if hidden else _quoted(value)
    return None, Problem(
        key=setting.key,
        kind="invalid",
        message=f"expected {expected}{quoted}",
        expected=expected,
        origin=str(setting.origin),
        # A hint is made of the value.
        suggestion=None if hidden else hint,
    )


def missing(source: Source, key: str, expected: str, env: str | None = None) -> Problem:
    """Return the problem of a setting that is nowhere, with what would set it."""
    name = source.variable(key, env)
    advice = None
    if source.variables:
        advice = f"set {name}"
        if source.files:
            advice += f", or {key} in {source.files[-1]}"
        meant = source.near_variable(name)
        if meant:
            advice += f"; {meant} is set: did you mean {name}?"
    return Problem(
        key=key,
        kind="missing",
        message=f"missing, expected {expected}",
        expected=expected,
        suggestion=advice,
    )


def unusable(setting: Setting, value: Unusable) -> Problem:
    """Return the problem of a setting that cannot be read."""
    return Problem(
        key=setting.key,
        kind="conflict" if value.conflict else "unreadable",
        message=value.reason,
        origin=str(setting.origin),
    )


def _quoted(value: object) -> str:
    """Return `, got '...'` for a short and harmless value, else nothing.

    A field that is no secret may still be handed one, when two variables are swapped: what looks
    like a URL or is longer than a number could be is not repeated.
    """
    if isinstance(value, dict):
        return ", got a table"
    if isinstance(value, list | tuple):
        return ", got a list"
    text = repr(value) if isinstance(value, str) else str(value).lower()
    return f", got {text}" if len(text) <= MAX_SHOWN and "@" not in text else ""


def _secrets_in(value: object) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _secrets_in(item)
    elif value is not None:
        yield Secret(str(value))


_FAILED = object()
"""Stands for a section that could not be made."""


class _Binder:
    """One bind: walks the schema, and collects problems."""

    def __init__(self, source: Source, at: str, schema: Section) -> None:
        self.source = source
        self.at = at
        self.schema = schema
        self.problems: list[Problem] = []
        self.secrets: list[Secret] = []
        self.leaves: Mapping[str, Leaf] = {
            self.full(leaf.key): leaf for leaf in schema.all_leaves()
        }
        self.sections = {self.full(section.key) for section in schema.all_sections()}
        self.env_names = {leaf.env for leaf in schema.all_leaves() if leaf.env}

    def full(self, key: str) -> str:
        return f"{self.at}.{key}" if self.at and key else key or self.at

    def make(self, section: Section) -> object:
        """Return the section's object, or `_FAILED`; the problems are kept."""
        values: dict[str, object] = {}
        failed = False
        for leaf in section.leaves:
            setting = self.lookup(leaf)
            if setting is not None and (setting.is_set or leaf.type.nullable):
                value, problem = self.read(setting, leaf)
            elif leaf.default is not None:
                value, problem = leaf.default(), None
            else:
                key = self.full(leaf.key)
                value, problem = None, missing(self.source, key, leaf.type.expected, leaf.env)
            if problem:
                self.problems.append(problem)
                failed = True
                continue
            values[leaf.name] = value
            if leaf.secret:
                self.secrets.extend(_secrets_in(value))
        for inner in section.sections:
            if inner.default is None or self.is_present(inner):
                values[inner.name] = self.make(inner)
                failed = failed or values[inner.name] is _FAILED
            else:
                values[inner.name] = inner.default()
        return _FAILED if failed else self.construct(section, values)

    def read(self, setting: Setting, leaf: Leaf) -> tuple[object, Problem | None]:
        """Return what a field gets from a setting: null is None."""
        return converted(setting, leaf.type, secret=leaf.secret) if setting.is_set else (None, None)

    def construct(self, section: Section, values: dict[str, object]) -> object:
        try:
            return section.cls(**values)
        except ValueError as exc:
            reason = str(exc) or "the values do not fit together"
        # The words are the class's own, and may quote what it was given, or a part of it.
        reason = without_secrets(reason, self.secrets)
        self.problems.append(
            Problem(self.full(section.key) or section.cls.__name__, "invalid", reason)
        )
        return _FAILED

    def lookup(self, leaf: Leaf) -> Setting | None:
        return self.source.lookup(self.full(leaf.key), leaf.env, indirect=leaf.indirect)

    def is_present(self, section: Section) -> bool:
        """Tell whether anybody has set anything in a section that need not be there."""
        return any(
            (setting := self.lookup(leaf)) is not None and setting.is_set
            for leaf in section.all_leaves()
        )

    def find_strangers(self) -> None:
        """Report what is written for this section and read by nobody."""
        reported: set[str] = set()
        for setting in self.source.below(self.at):
            if setting.key in self.leaves or not setting.is_set:
                continue
            origin = str(setting.origin)
            if origin + setting.key not in reported:
                reported.add(origin + setting.key)
                self.problems.append(self.stranger(setting, origin))
        self.find_misspelt_variables()

    def stranger(self, setting: Setting, origin: str) -> Problem:
        if setting.key in self.sections or setting.key == self.at:
            return Problem(setting.key, "invalid", "is a section, not a value", origin=origin)
        holder = next((k for k in self.leaves if setting.key.startswith(f"{k}.")), None)
        if holder:
            return Problem(
                setting.key, "invalid", f"{holder} is a value, not a section", origin=origin
            )
        meant = near(setting.key, self.leaves)
        hint = f"did you mean {meant}?" if meant else None
        return Problem(setting.key, "unknown", "no such setting", origin=origin, suggestion=hint)

    def find_misspelt_variables(self) -> None:
        """Report a variable with our prefix that differs from a setting's in separators or case.

        Others are left alone: a platform may set variables that begin like ours, as Kubernetes
        does for every service.
        """
        known = {self.source.variable(key) for key in self.leaves}
        known |= {name + FILE_SUFFIX for name in known}
        by_letters = {squash(name): name for name in known}
        taken = known | self.env_names | {name + FILE_SUFFIX for name in self.env_names}
        for name, variables in self.source.own_variables():
            meant = by_letters.get(squash(name))
            if meant is None or name in taken:
                continue
            origin = f"{variables.file}:{variables.lines.get(name)}" if variables.file else None
            self.problems.append(
                Problem(
                    name,
                    "unknown",
                    "sets nothing",
                    origin=origin,
                    suggestion=f"did you mean {meant}?",
                )
            )
