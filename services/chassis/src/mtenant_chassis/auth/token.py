"""Access tokens: JSON Web Tokens by RFC 9068, signed with Ed25519, and read strictly.

Nothing is believed of a token before its signature holds, and nothing is computed before its form
does: length, alphabet, canonical base64url, a small header. `alg` is bound to the key: this module
knows one algorithm, by its two names (`EdDSA`, RFC 8037; `Ed25519`, RFC 9864), so that neither `none` nor
HS256 with a public key can be meant. `jku`, `x5u` and `jwk` are never looked at, `crit` is refused.
"""

from __future__ import annotations

import json
import math
import re
import time
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import OKPKey

from mtenant_chassis.auth.principal import Kind, Principal
from mtenant_errors import Unauthorized

LONGEST: Final = 8192
"""A token in characters. Servers read header lines of about this size anyway."""

LEEWAY: Final = 5
"""Seconds that two clocks may differ."""

TYPE: Final = "at+jwt"
"""RFC 9068, 2.1; a refresh or identity token has another, and is no access token."""

_ALGORITHMS: Final = ("EdDSA", "Ed25519")
_LONGEST_HEADER: Final = 512
_FORM: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})")
_TENANT: Final = re.compile(r"[a-z0-9][a-z0-9_]{0,55}")
_LONGEST_ID: Final = 128


class InvalidToken(Unauthorized):
    """The token is no token of ours, or not one for this service, or not any more.

    What is wrong with it stands in `internal` only.
    """

    code, message = "TOKEN_INVALID", "the access token is not valid"
    headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}  # noqa: RUF012 - as its base has it


class _Ed25519Only(jws.JWSRegistry):
    """Knows both names of the one algorithm, and no other."""

    def get_alg(self, name: str) -> Any:
        if name not in _ALGORITHMS:
            raise UnsupportedAlgorithmError(f"only {_ALGORITHMS} are known here")
        return self.algorithms["Ed25519"]


_REGISTRY: Final = _Ed25519Only()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """What an access token says.

    Attributes:
        subject: The user's id; of a service its name.
        issuer: Who issued it.
        audience: For whom: the platform, or one service.
        tenant: The tenant's id, or None.
        roles: The roles in that tenant.
        scopes: What it is limited to; None for no limit.
        session: The id of the login.
        kind: A person's, or a service's.
        issued: When, as a Unix time in seconds.
        expires: When it ends, likewise.
        id: The token's own.
    """

    subject: str
    issuer: str
    audience: str
    expires: float
    tenant: str | None = None
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] | None = None
    session: str | None = None
    kind: Kind = "user"
    issued: float = field(default_factory=time.time)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def claims(self) -> dict[str, object]:
        """Return the claims as they are written (RFC 9068, 2.2)."""
        said: dict[str, object] = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": self.subject,
            "iat": int(self.issued),
            "exp": int(self.expires),
            "jti": self.id,
            "client_kind": self.kind,
            "roles": list(self.roles),
        }
        if self.tenant is not None:
            said["tenant_id"] = self.tenant
        if self.session is not None:
            said["sid"] = self.session
        if self.scopes is not None:
            said["scope"] = " ".join(self.scopes)
        return said

    @property
    def principal(self) -> Principal:
        """Whom it speaks for."""
        return Principal(
            id=self.subject,
            tenant=self.tenant,
            roles=self.roles,
            scopes=self.scopes,
            session=self.session,
            kind=self.kind,
            expires=self.expires,
        )


def write_token(token: AccessToken, key: OKPKey, kid: str) -> str:
    """Sign a token; for the service that issues them, and for tests."""
    header = {"alg": "EdDSA", "typ": TYPE, "kid": kid}
    payload = json.dumps(token.claims(), separators=(",", ":")).encode()
    return jws.serialize_compact(header, payload, key, registry=_REGISTRY)


def key_id(token: str) -> str:
    """Check the form of a token, and return the id of the key that is said to have signed it.

    Raises:
        InvalidToken: The form is wrong.
    """
    if len(token) > LONGEST:
        raise InvalidToken(internal=f"{len(token)} characters")
    form = _FORM.fullmatch(token)
    if form is None:
        raise InvalidToken(
            internal="not three base64url segments, the last of an Ed25519 signature"
        )
    if len(form[1]) > _LONGEST_HEADER:
        raise InvalidToken(internal="a header that is too long")
    header = _members(_decode(form[1]), "header")
    for segment in (form[2], form[3]):
        _decode(segment)
    if header.get("alg") not in _ALGORITHMS:
        raise InvalidToken(internal="another algorithm")
    kind = header.get("typ")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") != TYPE:
        raise InvalidToken(internal="not of the type at+jwt")
    if "crit" in header or "b64" in header:
        raise InvalidToken(internal="a critical header that nobody here knows")
    kid = header.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= _LONGEST_ID:
        raise InvalidToken(internal="no key id")
    return kid


def read_token(
    token: str, key: OKPKey, *, issuer: str, audiences: Iterable[str], now: float | None = None
) -> AccessToken:
    """Check a token and return what it says. Call `key_id` first: it checks the form.

    Args:
        token: As it came.
        key: The public key that `key_id` named.
        issuer: Whose tokens are believed.
        audiences: The names that this service answers to.
        now: A Unix time in seconds, instead of the present.

    Raises:
        InvalidToken: Something is wrong with it.
    """
    try:
        signed = jws.deserialize_compact(token, key, registry=_REGISTRY)
    except (JoseError, ValueError) as exc:
        raise InvalidToken(internal=f"the signature: {type(exc).__name__}") from None
    claims = _members(signed.payload or b"", "payload")
    return check_claims(claims, issuer=issuer, audiences=audiences, now=now)


def check_claims(
    claims: Mapping[str, Any],
    *,
    issuer: str,
    audiences: Iterable[str],
    now: float | None = None,
) -> AccessToken:
    """Return what claims say, if they are for us and for now.

    Raises:
        InvalidToken: They are not, or one is of the wrong type.
    """
    at = time.time() if now is None else now
    if claims.get("iss") != issuer:
        raise InvalidToken(internal="another issuer")
    audience = claims.get("aud")
    meant = audience if isinstance(audience, list) else [audience]
    known = [one for one in meant if isinstance(one, str) and one in set(audiences)]
    if not known:
        raise InvalidToken(internal="for another audience")
    expires, issued = _time(claims, "exp"), _time(claims, "iat")
    if expires + LEEWAY <= at:
        raise InvalidToken(internal="expired")
    if issued - LEEWAY > at or ("nbf" in claims and _time(claims, "nbf") - LEEWAY > at):
        raise InvalidToken(internal="not valid yet")
    tenant = _optional(claims, "tenant_id")
    if tenant is not None and not _TENANT.fullmatch(tenant):
        raise InvalidToken(internal="tenant_id is no tenant id")
    kind = claims.get("client_kind", "user")
    if kind not in {"user", "service"}:
        raise InvalidToken(internal="client_kind")
    scope = claims.get("scope")
    if scope is not None and not isinstance(scope, str):
        raise InvalidToken(internal="scope is no text")
    return AccessToken(
        subject=_required(claims, "sub"),
        issuer=issuer,
        audience=known[0],
        expires=expires,
        tenant=tenant,
        roles=_texts(claims, "roles"),
        scopes=None if scope is None else tuple(scope.split()),
        session=_optional(claims, "sid"),
        kind=kind,
        issued=issued,
        id=_required(claims, "jti"),
    )


def _decode(segment: str) -> bytes:
    raw = segment.encode("ascii")
    try:
        decoded = urlsafe_b64decode(raw + b"=" * (-len(raw) % 4))
    except ValueError:
        raise InvalidToken(internal="no base64url") from None
    # Two spellings of one token would be two tokens for whatever remembers tokens.
    if urlsafe_b64encode(decoded).rstrip(b"=") != raw:
        raise InvalidToken(internal="base64url that is not canonical")
    return decoded


def _members(text: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidToken(internal=f"the {what} is no JSON object with unique names")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name that is there twice")
    return found


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidToken(internal=f"{name} is missing or no number")
    return float(value)


def _optional(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_ID:
        raise InvalidToken(internal=f"{name} is no text of 1 to {_LONGEST_ID} characters")
    return value


def _required(claims: Mapping[str, Any], name: str) -> str:
    value = _optional(claims, name)
    if value is None:
        raise InvalidToken(internal=f"no {name}")
    return value


def _texts(claims: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = claims.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InvalidToken(internal=f"{name} is no list of texts")
    return tuple(value)
