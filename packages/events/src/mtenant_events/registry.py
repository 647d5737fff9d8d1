"""Which class is the payload of which type of event."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from mtenant_events.event import check_type
from mtenant_events.payload import Build, builder

C = TypeVar("C", bound=type[Any])

_NAME: Final = "__event_type__"


def event_type(name: str) -> Callable[[C], C]:
    """Give a payload class the name of its type; use it as a decorator.

    The class is a dataclass, a msgspec Struct or a pydantic model.

    Args:
        name: Such as `deal.closed_won`.

    Raises:
        ValueError: That is no name of a type.

    >>> from dataclasses import dataclass
    >>> @event_type("deal.closed_won")
    ... @dataclass(frozen=True)
    ... class DealClosedWon:
    ...     deal_id: str
    >>> type_of(DealClosedWon)
    'deal.closed_won'
    """
    check_type(name)

    def named(cls: C) -> C:
        setattr(cls, _NAME, name)
        return cls

    return named


def type_of(cls: type[Any]) -> str:
    """Return the name of a payload class's type.

    Raises:
        TypeError: The class has none of its own. A base's name is not taken: two classes cannot be
            the payload of one type.
    """
    name = cls.__dict__.get(_NAME)
    if name is None:
        raise TypeError(
            f"{cls.__qualname__} has no event type: put @event_type('entity.action') above it"
        )
    return str(name)


class Registry:
    """The payload classes that a program knows, by the names of their types.

    Args:
        classes: Classes with a name.

    Raises:
        TypeError: A class has no name.
        ValueError: Two classes have the same.
    """

    def __init__(self, classes: Iterable[type[Any]] = ()) -> None:
        self._classes: dict[str, type[Any]] = {}
        self._builders: dict[str, Build] = {}
        for cls in classes:
            self.add(cls)

    def add(self, cls: type[Any]) -> str:
        """Add a class, and return its type's name. A second time nothing changes.

        Raises:
            TypeError: It has no name, or no JSON value can be read as one of its fields.
            ValueError: Another class has the same.
        """
        name = type_of(cls)
        if self._classes.setdefault(name, cls) is not cls:
            other = self._classes[name]
            raise ValueError(
                f"{cls.__qualname__} and {other.__module__}.{other.__qualname__} are both {name!r}"
            )
        self._builders[name] = builder(cls)
        return name

    def class_of(self, name: str) -> type[Any] | None:
        """Return the class of a type, or None: then the data stays a mapping."""
        return self._classes.get(name)

    def build(self, name: str, data: Any) -> Any:
        """Return the payload of a type, made of JSON values; these themselves if it has no class.

        Raises:
            Unfit: They are not what the class asks for.
        """
        build = self._builders.get(name)
        return data if build is None else build(data)
