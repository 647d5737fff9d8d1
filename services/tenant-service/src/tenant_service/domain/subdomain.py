"""Subdomains: which names an organization may have."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

LONGEST: Final = 63
"""Characters of a label (RFC 1035, 2.3.4)."""

SHORTEST: Final = 3

# Letters, digits and inner hyphens (RFC 1035, 2.3.1, with RFC 1123, 2.1). Two hyphens in the third and
# fourth place are what internationalised names look like (RFC 5890, 2.3.1): one such as xn--pypl-5ve.example
# shows itself as another name.
_LABEL: Final = re.compile(r"(?!..--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_TENANT_ID: Final = re.compile(r"[0-9a-f]{32}")

RESERVED: Final = frozenset(
    # Names of hosts and of roles (RFC 2142), of this platform's parts, and those that promise something.
    """about abuse account accounts admin administrator api app apps assets auth autoconfig
    autodiscover billing blog cdn communication contact contacts crm dashboard deal deals demo dev
    developer developers docs download email example ftp graphql help hostmaster imap info internal
    invite jobs legal localhost login logout mail marketing metrics mtenant mx nats news noc ns ns1 ns2
    oauth official owner payment payments pop postmaster preview privacy prod production public
    register root sales secure security signin signup smtp sso staff staging static status store
    support system team tenant tenants terms test testing usenet uucp webmail webmaster wpad www
    www1 www2""".split()  # noqa: SIM905 - a list of words
)


def is_subdomain(name: str) -> bool:
    """Tell whether a text has the form of a subdomain, in its one spelling.

    >>> is_subdomain("acme"), is_subdomain("xn--acme"), is_subdomain("0" * 32)
    (True, False, False)
    """
    return bool(_LABEL.fullmatch(name)) and not _TENANT_ID.fullmatch(name)


def normal(text: str) -> str:
    """Return a subdomain in its one spelling; case makes no difference (RFC 4343).

    >>> normal("Acme-2")
    'acme-2'

    Raises:
        PydanticCustomError: It has not the form of one.
    """
    name = text.lower() if text.isascii() else text
    if not is_subdomain(name):
        raise PydanticCustomError(
            "subdomain",
            "is no subdomain: 3 to 63 letters a-z, digits and inner hyphens, no international name",
        )
    return name


def is_reserved(name: str) -> bool:
    """Tell whether nobody may have a name: `www`, `api`, `admin`.

    >>> is_reserved("www"), is_reserved("acme")
    (True, False)
    """
    return name in RESERVED


Subdomain = Annotated[
    str,
    Field(
        min_length=SHORTEST,
        max_length=LONGEST,
        examples=["acme"],
        json_schema_extra={
            "pattern": f"^(?![0-9a-fA-F]{{32}}$){_LABEL.pattern.replace('a-z', 'A-Za-z')}$"
        },
    ),
    AfterValidator(normal),
]
"""A subdomain in a request, in its one spelling."""
