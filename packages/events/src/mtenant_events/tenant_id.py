"""The grammar of a tenant's id, which is one token of each subject."""

from __future__ import annotations

import re
from typing import Final

from mtenant_errors import BadRequest

# No dot, star or greater-than sign: in a subject these would name other subjects (NATS documentation,
# subject-based messaging). 56, because the id is also a part of the name of a schema.
_TENANT_ID: Final = re.compile(r"[a-z0-9][a-z0-9_]{0,55}")


class InvalidTenantId(BadRequest):
    """The text is no tenant id. It is refused, not folded: two spellings must not be one tenant."""

    code = "INVALID_TENANT_ID"
    message = "a tenant id is 1 to 56 of a-z, 0-9 and _, and begins with a letter or digit"


def check_tenant_id(tenant: object) -> str:
    """Return the id as it is.

    Raises:
        InvalidTenantId: It does not match `[a-z0-9][a-z0-9_]{0,55}`. UUIDs are written as 32 hex digits.
    """
    if not isinstance(tenant, str) or _TENANT_ID.fullmatch(tenant) is None:
        raise InvalidTenantId(internal=f"got {tenant!r:.200}")
    return tenant
