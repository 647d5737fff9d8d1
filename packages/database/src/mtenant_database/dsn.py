"""A connection string as an operator writes it, read by libpq and refused without repeating it."""

from __future__ import annotations

import difflib
import re
from typing import Final

from psycopg import Error, pq
from psycopg.conninfo import conninfo_to_dict

Parameters = dict[str, str]

SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SESSION_ATTRS: Final = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")

_SHAPE: Final = "postgresql://user:password@host:5432/database?sslmode=require"
_ENCODE: Final = "write @ : / ? # % and spaces in user and password as %40 %3A %2F %3F %23 %25 %20"
_URL: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_SCHEMES: Final = ("postgresql", "postgres")


class InvalidDsn(ValueError):
    """The text is no usable connection string. The message never holds a part of it."""


def parse_dsn(text: str) -> Parameters:
    """Return libpq's parameters of a connection string.

    It is a URL, `postgresql://` or `postgres://`, with one host or several; or libpq's other form,
    `host=db dbname=crm` (PostgreSQL manual, 34.1.1). What it does not say is left to libpq: PG*
    variables, service and password files.

    Raises:
        InvalidDsn: It cannot be read, names no database, or has an unencoded `@` or `/` in its
            password, which libpq would read as a host and repeat in its errors.
    """
    url = _URL.match(text)
    if url:
        _check_url(url["scheme"], url["rest"])
    parameters = read_dsn(text)
    if parameters is None:
        raise InvalidDsn(_why(text, is_url=url is not None))
    _check_parameters(parameters)
    return parameters


def read_dsn(text: str) -> Parameters | None:
    """Return libpq's parameters of a connection string, or None if it cannot be read.

    libpq's message quotes what it could not read, which may be the password: it is not passed on,
    nor kept as a cause or context.
    """
    try:
        return {key: str(value) for key, value in conninfo_to_dict(text).items()}
    except (Error, UnicodeError):
        return None


def _check_url(scheme: str, rest: str) -> None:
    if scheme.lower().partition("+")[0] in _SCHEMES and scheme not in _SCHEMES:
        raise InvalidDsn("has a scheme that libpq does not know: write postgresql://, no driver")
    if scheme not in _SCHEMES:
        raise InvalidDsn(f"is no PostgreSQL URL: expected {_SHAPE}")
    authority, _, path = rest.partition("/")
    if authority.count("@") > 1 or "@" in path.partition("?")[0]:
        raise InvalidDsn(f"has an @ in the wrong place: {_ENCODE}")


def _why(text: str, *, is_url: bool) -> str:
    if not is_url:
        return f"is neither a URL nor key=value pairs: expected {_SHAPE}"
    known = sorted(option.keyword.decode() for option in pq.Conninfo.get_defaults())
    query = text.partition("?")[2]
    for name in (pair.partition("=")[0] for pair in query.split("&") if pair):
        if name not in known:
            meant = difflib.get_close_matches(name, known, n=1)
            hint = f": did you mean {meant[0]}?" if meant else ""
            return f"has a parameter after the ? that libpq does not know{hint}"
    return f"cannot be read: expected {_SHAPE}; {_ENCODE}"


def _check_parameters(parameters: Parameters) -> None:
    if not parameters.get("dbname"):
        raise InvalidDsn("names no database: there is no default one")
    ports = parameters.get("port", "")
    if not all(not port or _is_port(port) for port in ports.split(",")):
        raise InvalidDsn(f"has a port that is no number from 1 to 65535; {_ENCODE}")
    hosts = max(len(parameters.get(key, "").split(",")) for key in ("host", "hostaddr"))
    if ports.count(",") not in {0, hosts - 1}:
        raise InvalidDsn("has more than one port, and not one for each host")
    _check_choice(parameters, "sslmode", SSL_MODES)
    _check_choice(parameters, "target_session_attrs", _SESSION_ATTRS)
    timeout = parameters.get("connect_timeout", "1")
    if not (timeout.isascii() and timeout.isdecimal()):
        raise InvalidDsn("has a connect_timeout that is no whole number of seconds")


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 1 <= int(text[:6]) <= 65535


def _check_choice(parameters: Parameters, key: str, choices: tuple[str, ...]) -> None:
    if parameters.get(key, choices[0]) not in choices:
        raise InvalidDsn(f"has an unknown {key}: expected one of {', '.join(choices)}")
