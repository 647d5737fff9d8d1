"""Settings from environment variables alone."""

import os
from collections.abc import Mapping
from typing import TypeVar

from mtenant_config.binding import bind
from mtenant_config.names import check_prefix
from mtenant_config.source import Source
from mtenant_config.variables import Variables

T = TypeVar("T")


def from_env(
    cls: type[T], *, prefix: str | None = None, environ: Mapping[str, str] = os.environ
) -> T:
    """Return a settings object that is read from environment variables and nothing else.

    A field's variable is the one that its `Env` names. A field without one has its own name in
    upper case, behind the prefix if there is one; fields of a nested class are joined to it by two
    underscores. `X_FILE` names a file that holds the value of `X`.

    A ValueError that the class raises in `__post_init__` becomes a problem like the others.

    Args:
        cls: A frozen dataclass.
        prefix: Such as `CRM`, without the underscore.
        environ: The variables; those of the process by default.

    Raises:
        ConfigError: With every problem of every field.
        ValueError: The prefix is no upper-case name.
        TypeError: The class is no frozen dataclass, or has a field that no text can be read as.

    >>> from dataclasses import dataclass
    >>> from typing import Annotated
    >>> from mtenant_config import Env
    >>> @dataclass(frozen=True)
    ... class Database:
    ...     url: Annotated[str, Env("DATABASE_URL")]
    ...     max_open: Annotated[int, Env("DB_MAX_OPEN_CONNS")] = 20
    >>> from_env(Database, environ={"DATABASE_URL": "postgresql://db/crm"})
    Database(url='postgresql://db/crm', max_open=20)
    """
    source = environment(prefix, environ)
    del environ  # error trackers record the local variables of what raises
    return bind(cls, source)


def environment(prefix: str | None, environ: Mapping[str, str]) -> Source:
    """Return a source of variables that are looked up by name."""
    variables = Variables(environ)
    if prefix is None:
        return Source(None, variables=(variables,))
    check_prefix(prefix)
    swept = variables.swept(prefix)
    references = variables.references(prefix)
    return Source(prefix, swept, (swept,), (references,), (variables,))
