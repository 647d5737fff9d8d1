"""Who asks, and whether they may: tokens, the keys behind them, roles.

>>> from mtenant_chassis.auth import Principal
>>> ada = Principal(id="u1", tenant="acme", roles=("member",))
>>> ada.may("contacts:write"), ada.may("users:manage")
(True, False)
"""

from mtenant_chassis.auth.access import (
    CurrentPrincipal,
    authenticated,
    public,
    requires,
    services_only,
)
from mtenant_chassis.auth.keys import KeySet, KeySource, RemoteKeys, StaticKeys, generate_key
from mtenant_chassis.auth.middleware import Authenticate, AuthenticationMiddleware
from mtenant_chassis.auth.permissions import ROLES, VERBS, Role, permits
from mtenant_chassis.auth.principal import Principal
from mtenant_chassis.auth.token import AccessToken, InvalidToken, read_token, write_token
from mtenant_chassis.auth.validation import LocalValidation, RemoteValidation

__all__ = [
    "ROLES",
    "VERBS",
    "AccessToken",
    "Authenticate",
    "AuthenticationMiddleware",
    "CurrentPrincipal",
    "InvalidToken",
    "KeySet",
    "KeySource",
    "LocalValidation",
    "Principal",
    "RemoteKeys",
    "RemoteValidation",
    "Role",
    "StaticKeys",
    "authenticated",
    "generate_key",
    "permits",
    "public",
    "read_token",
    "requires",
    "services_only",
    "write_token",
]
