"""Where signing keys come from: a setting, the database, or this process's memory."""

from __future__ import annotations

import json
import secrets
import uuid
from datetime import timedelta
from typing import Final

from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from auth_service.domain.signing_key import Plan, Seal, SealBroken, StoredKey, plan
from auth_service.keyring import LoadedKeys
from auth_service.queries import signing_keys as queries
from mtenant_chassis import KeySet
from mtenant_chassis.auth import generate_key
from mtenant_database import Handle, Transaction
from mtenant_logger import get_logger

_LOCK: Final = "auth-service signing keys"
_WRONG: Final = (
    "AUTH_SECRET is not the one under which the signing keys of this database were encrypted: give the"
    " old one back, or empty shared.signing_keys, which ends every access token"
)

log = get_logger(__name__)


async def stored_keys(shared: Handle, seal: Seal, *, rotation: timedelta) -> LoadedKeys:
    """Return the keys of the database, after what is due was done: the first one, the next, the last.

    Any number of processes may do it at once.

    Args:
        shared: The handle of the shared schemas.
        seal: Opens and closes them.
        rotation: How long a key signs.

    Raises:
        SealBroken: The secret is another one.
    """
    keys, now = await queries.everything(shared)
    todo = plan(keys, now=now, rotation=rotation)
    if todo.changes:
        async with shared.transaction() as tx:
            await tx.lock(_LOCK)
            keys, now = await queries.everything(tx)
            todo = plan(keys, now=now, rotation=rotation)
            keys = await _carry_out(tx, todo, keys, seal)
        todo = plan(keys, now=now, rotation=rotation)
    if todo.signer is None:
        raise RuntimeError("a key was made, and none signs")
    try:
        opened = {key.kid: seal.open(key) for key in keys if key.kid not in todo.drop}
    except SealBroken as exc:
        raise SealBroken(_WRONG) from exc
    return LoadedKeys(KeySet(opened), todo.signer.kid)


async def _carry_out(
    tx: Transaction, todo: Plan, keys: list[StoredKey], seal: Seal
) -> list[StoredKey]:
    if todo.drop:
        await queries.drop(tx, list(todo.drop))
        keys = [key for key in keys if key.kid not in todo.drop]
    if todo.add_from is not None:
        kid, key = uuid.uuid4().hex, generate_key()
        added = StoredKey(kid, seal.close(kid, key), todo.add_from)
        await queries.add(tx, added)
        keys = [*keys, added]
        log.info("a signing key was made", kid=kid, signs_from=todo.add_from.isoformat())
    return keys


async def replace_keys(shared: Handle, seal: Seal) -> str:
    """Make a new key that signs at once, and forget all others, with every token that they signed.

    Returns:
        The new key's id.
    """
    async with shared.transaction() as tx:
        await tx.lock(_LOCK)
        keys, now = await queries.everything(tx)
        await _carry_out(tx, Plan(None, tuple(key.kid for key in keys), now), keys, seal)
        kept, _ = await queries.everything(tx)
        return kept[0].kid


def given_keys(text: str) -> LoadedKeys:
    """Return the keys of a setting: a JWK set (RFC 7517, 5) with private keys, the first of which signs.

    Raises:
        ValueError: It is none. The message repeats nothing of it.
    """
    try:
        members = json.loads(text)["keys"]
        keys = {str(one["kid"]): _private(one) for one in members}
    except (JoseError, KeyError, TypeError, ValueError):
        keys = {}
    if not keys:
        raise ValueError(
            "AUTH_SIGNING_KEYS is no JWK set of private Ed25519 keys, each with `kid`, `x` and `d`"
        )
    return LoadedKeys(KeySet(keys), next(iter(keys)))


def _private(member: dict[str, str]) -> OKPKey:
    if (member["kty"], member["crv"]) != ("OKP", "Ed25519"):
        raise ValueError("another kind of key")
    return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": member["x"], "d": member["d"]})


def passing_keys() -> LoadedKeys:
    """Return a key that ends with the process: for a laptop."""
    kid = secrets.token_hex(8)
    return LoadedKeys(KeySet({kid: generate_key()}), kid)
