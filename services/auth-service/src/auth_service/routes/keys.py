"""GET /.well-known/jwks.json."""

from __future__ import annotations

import json
from typing import Any, Final, Literal

from fastapi import Response
from pydantic import BaseModel

from auth_service.service import CurrentService
from mtenant_chassis import Router, public, set_static

router = Router(tags=["keys"])

_SECONDS: Final = 300


class Key(BaseModel):
    """The public half of a signing key (RFC 8037, 2)."""

    kid: str
    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    use: Literal["sig"]
    alg: Literal["EdDSA"]


class Keys(BaseModel):
    """A JWK set (RFC 7517, 5)."""

    keys: list[Key]


@router.get("/.well-known/jwks.json", dependencies=[public()])
async def jwks(service: CurrentService, response: Response) -> Keys:
    """Publish the keys by which tokens are checked: the present one, the next, the last."""
    document: dict[str, Any] = service.keyring.public()
    set_static(response, json.dumps(document).encode(), seconds=_SECONDS, private=False)
    return Keys.model_validate(document)
