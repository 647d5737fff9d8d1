from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import OKPKey

from mtenant_chassis.auth import (
    AccessToken,
    InvalidToken,
    KeySet,
    LocalValidation,
    RemoteKeys,
    RemoteValidation,
    StaticKeys,
    generate_key,
    read_token,
    write_token,
)
from mtenant_chassis.auth.keys import FRESH, PAUSE, STALE, KeysUnavailable
from mtenant_chassis.auth.token import LONGEST, key_id
from mtenant_chassis.testing import Issuer

pytestmark = pytest.mark.anyio
AUDIENCES = ("mtenant", "note-service")


def part(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    said = {
        "iss": "mtenant-auth",
        "aud": "mtenant",
        "sub": "u1",
        "iat": now,
        "exp": now + 600,
        "jti": "j1",
        "tenant_id": "acme",
        "roles": ["member"],
        **changes,
    }
    return {name: value for name, value in said.items() if value is not ...}


def forge(key: OKPKey, payload: object, **header: Any) -> str:
    """Sign anything with the real key, as a broken issuer would."""
    fields = {"alg": "EdDSA", "typ": "at+jwt", "kid": "k1", **header}
    fields = {name: value for name, value in fields.items() if value is not ...}
    signed = f"{part(fields)}.{part(payload)}"
    private: Any = key.get_op_key("sign")
    return f"{signed}.{part(private.sign(signed.encode()))}"


@pytest.fixture(scope="module")
def key() -> OKPKey:
    return generate_key()


@pytest.fixture
def validate(key: OKPKey) -> LocalValidation:
    return LocalValidation(
        StaticKeys(KeySet({"k1": key})), issuer="mtenant-auth", audiences=AUDIENCES
    )


async def test_a_good_token_names_its_principal(validate: LocalValidation, key: OKPKey) -> None:
    principal = await validate(forge(key, claims(sid="s1", scope="notes:read deals:write")))

    assert (principal.id, principal.tenant, principal.roles) == ("u1", "acme", ("member",))
    assert (principal.session, principal.kind) == ("s1", "user")
    assert principal.scopes == ("notes:read", "deals:write")


@pytest.mark.parametrize("algorithm", ["EdDSA", "Ed25519"])
async def test_both_names_of_the_algorithm_are_known(
    validate: LocalValidation, key: OKPKey, algorithm: str
) -> None:
    assert (await validate(forge(key, claims(), alg=algorithm))).id == "u1"


async def test_what_is_written_is_read_again(key: OKPKey) -> None:
    token = AccessToken(
        subject="u1",
        issuer="i",
        audience="a",
        expires=time.time() + 60,
        tenant="acme",
        roles=("admin", "viewer"),
        scopes=("notes:read",),
        session="s",
    )

    read = read_token(write_token(token, key, "k"), key, issuer="i", audiences=["a"])

    assert read.claims() == token.claims()


BAD_HEADERS: dict[str, dict[str, Any]] = {
    "none": {"alg": "none"},
    "None": {"alg": "None"},
    "NONE": {"alg": "NONE"},
    "nOnE": {"alg": "nOnE"},
    "no alg": {"alg": ...},
    "null alg": {"alg": None},
    "list alg": {"alg": ["EdDSA"]},
    "HS256": {"alg": "HS256"},
    "RS256": {"alg": "RS256"},
    "ES256": {"alg": "ES256"},
    "eddsa": {"alg": "eddsa"},
    "Ed448": {"alg": "Ed448"},
    "no typ": {"typ": ...},
    "JWT": {"typ": "JWT"},
    "refresh": {"typ": "rt+jwt"},
    "typ number": {"typ": 1},
    "crit exp": {"crit": ["exp"]},
    "crit unknown": {"crit": ["x"], "x": 1},
    "crit empty": {"crit": []},
    "b64": {"b64": False, "crit": ["b64"]},
    "b64 alone": {"b64": False},
    "no kid": {"kid": ...},
    "unknown kid": {"kid": "k2"},
    "empty kid": {"kid": ""},
    "kid number": {"kid": 1},
    "kid path": {"kid": "../../dev/null"},
    "kid sql": {"kid": "k1' or '1'='1"},
    "long kid": {"kid": "k" * 129},
    "large header": {"x": "x" * 600},
    "unregistered field": {"x": 1},
}


@pytest.mark.parametrize("header", BAD_HEADERS.values(), ids=BAD_HEADERS)
async def test_a_token_with_another_header_is_refused(
    validate: LocalValidation, key: OKPKey, header: dict[str, Any]
) -> None:
    with pytest.raises(InvalidToken):
        await validate(forge(key, claims(), **header))


BAD_CLAIMS: dict[str, dict[str, Any]] = {
    "other issuer": {"iss": "somebody"},
    "no issuer": {"iss": ...},
    "other audience": {"aud": "contact-service"},
    "no audience": {"aud": ...},
    "empty audiences": {"aud": []},
    "audience object": {"aud": {"mtenant": 1}},
    "audiences of objects": {"aud": [{"mtenant": 1}]},
    "expired": {"exp": int(time.time()) - 60},
    "no exp": {"exp": ...},
    "null exp": {"exp": None},
    "text exp": {"exp": "9999999999"},
    "true exp": {"exp": True},
    "no iat": {"iat": ...},
    "from the future": {"iat": int(time.time()) + 600},
    "not before": {"nbf": int(time.time()) + 600},
    "no sub": {"sub": ...},
    "empty sub": {"sub": ""},
    "sub number": {"sub": 7},
    "long sub": {"sub": "u" * 129},
    "no jti": {"jti": ...},
    "tenant in capitals": {"tenant_id": "Acme"},
    "tenant with a quote": {"tenant_id": 'a"; drop schema x'},
    "tenant with a line": {"tenant_id": "acme\n"},
    "tenant number": {"tenant_id": 7},
    "roles text": {"roles": "admin"},
    "roles numbers": {"roles": [1]},
    "scope list": {"scope": ["notes:read"]},
    "kind": {"client_kind": "root"},
}


@pytest.mark.parametrize("changes", BAD_CLAIMS.values(), ids=BAD_CLAIMS)
async def test_a_token_with_other_claims_is_refused(
    validate: LocalValidation, key: OKPKey, changes: dict[str, Any]
) -> None:
    with pytest.raises(InvalidToken):
        await validate(forge(key, claims(**changes)))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"null",
        b'{"exp": NaN}',
        b'{"exp": Infinity}',
        b'{"exp": 1e999}',
        b"\xff",
        b"[" * 3000,
        json.dumps(claims()).replace("{", '{"tenant_id": "other", ', 1).encode(),
    ],
    ids=["empty", "list", "null", "nan", "infinity", "1e999", "no utf-8", "deep", "name twice"],
)
async def test_a_payload_that_is_no_plain_object_is_refused(
    validate: LocalValidation, key: OKPKey, payload: bytes
) -> None:
    with pytest.raises(InvalidToken):
        await validate(forge(key, payload))


async def test_a_signature_by_hmac_with_the_public_key_is_refused(
    validate: LocalValidation, key: OKPKey
) -> None:
    public = key.as_pem(private=False)
    for secret in (public, str(key.as_dict(private=False)["x"]).encode()):
        signed = f"{part({'alg': 'HS256', 'typ': 'at+jwt', 'kid': 'k1'})}.{part(claims())}"
        forged = f"{signed}.{part(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"
        with pytest.raises(InvalidToken):
            await validate(forged)


async def test_keys_that_the_token_brings_are_never_used(
    validate: LocalValidation, key: OKPKey
) -> None:
    attacker = generate_key()
    for brought in (
        {"jwk": attacker.as_dict(private=False)},
        {"jku": "http://attacker.example.com/keys"},
        {"x5u": "http://attacker.example.com/cert"},
    ):
        with pytest.raises(InvalidToken):
            await validate(forge(attacker, claims(), **brought))
        assert (await validate(forge(key, claims(), **brought))).id == "u1"  # ignored


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "a" * 1024 * 1024,
        "a." * 5000,
        "\x00",
        "ä.ö.ü",
        " ",
    ],
    ids=["empty", "dot", "dots", "short", "1 MiB", "many parts", "nul", "not ascii", "blank"],
)
async def test_what_is_no_token_is_refused_before_any_key_is_asked_for(token: str) -> None:
    class NoKeys:
        generation = 0

        async def find(self, kid: str) -> OKPKey | None:
            raise AssertionError("asked")

    with pytest.raises(InvalidToken):
        await LocalValidation(NoKeys(), issuer="i", audiences=())(token)


async def test_a_token_is_accepted_in_one_spelling_only(
    validate: LocalValidation, key: OKPKey
) -> None:
    token = forge(key, claims())
    header, payload, signature = token.split(".")
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = signature[:-1] + last[(last.index(signature[-1]) + 1) % 64]

    for other in (
        f"{token}=",
        f"{header}.{payload}.{twin}",
        f"{token}\n",
        f" {token}",
        f"{token}.",
        f"{header}=.{payload}.{signature}",
    ):
        with pytest.raises(InvalidToken):
            await validate(other)


@given(st.text(max_size=300))
def test_no_text_breaks_the_check_of_the_form(text: str) -> None:
    with pytest.raises(InvalidToken):
        key_id(text)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_token_with_any_byte_changed_is_refused(data: st.DataObject) -> None:
    issuer = Issuer()
    token = issuer.token("acme", "member")
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(min_codepoint=33, max_codepoint=126))
    changed = token[:place] + other + token[place + 1 :]
    validate = LocalValidation(issuer.keys, issuer="mtenant-auth", audiences=AUDIENCES)
    if changed != token:
        with pytest.raises(InvalidToken):
            asyncio.run(validate(changed))


async def test_a_token_is_refused_once_it_has_expired_although_it_is_remembered(
    validate: LocalValidation, key: OKPKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = forge(key, claims())
    await validate(token)
    later = time.time() + 700
    monkeypatch.setattr(time, "time", lambda: later)

    with pytest.raises(InvalidToken):
        await validate(token)


async def test_a_token_is_refused_once_its_key_is_gone_although_it_is_remembered() -> None:
    issuer = Issuer()
    validate = LocalValidation(issuer.keys, issuer="mtenant-auth", audiences=AUDIENCES)
    token = issuer.token("acme")
    await validate(token)
    issuer.keys.replace(KeySet({"new": generate_key()}))

    with pytest.raises(InvalidToken):
        await validate(token)


async def test_a_token_is_verified_once_and_then_remembered() -> None:
    issuer = Issuer()
    validate = LocalValidation(issuer.keys, issuer="mtenant-auth", audiences=AUDIENCES)
    token = issuer.token("acme")

    assert await validate(token) is await validate(token)


def test_the_longest_token_is_longer_than_ours() -> None:
    assert len(Issuer().token("a" * 56, *("owner",) * 20)) < LONGEST / 4


class Published:
    """A key set of auth-service, whose answers a test decides."""

    def __init__(self) -> None:
        self.key = generate_key()
        self.document: Any = KeySet({"k1": self.key}).public()
        self.fetched = 0
        self.now = 0.0
        self.keys = RemoteKeys(self.fetch, clock=lambda: self.now)

    async def fetch(self) -> Any:
        self.fetched += 1
        await asyncio.sleep(0)
        if isinstance(self.document, Exception):
            raise self.document
        return self.document


async def test_concurrent_requests_share_one_fetch() -> None:
    published = Published()

    found = await asyncio.gather(*(published.keys.find("k1") for _ in range(50)))

    assert all(one is found[0] is not None for one in found)
    assert published.fetched == 1


async def test_an_unknown_key_is_looked_for_but_not_more_often_than_every_thirty_seconds() -> None:
    published = Published()
    await published.keys.find("k1")
    for n in range(100):
        assert await published.keys.find(f"made-up-{n}") is None
    assert published.fetched == 1

    published.document = KeySet({"k1": published.key, "k2": generate_key()}).public()
    published.now = PAUSE + 1

    assert await published.keys.find("k2") is not None
    assert published.fetched == 2


async def test_a_key_that_is_not_published_any_more_is_dropped() -> None:
    published = Published()
    await published.keys.find("k1")
    before = published.keys.generation
    published.document = KeySet({"k2": generate_key()}).public()
    published.now = FRESH + 1

    assert await published.keys.find("k1") is None
    assert published.keys.generation > before


async def test_keys_outlive_an_auth_service_that_is_down_by_an_hour() -> None:
    published = Published()
    await published.keys.find("k1")
    published.document = OSError("down")

    published.now = STALE - 1
    assert await published.keys.find("k1") is not None
    published.now = STALE + 1
    with pytest.raises(KeysUnavailable):
        await published.keys.find("k1")


async def test_without_any_key_nobody_is_called_invalid_and_the_fetch_is_tried_again() -> None:
    published = Published()
    document, published.document = published.document, OSError("down")
    with pytest.raises(KeysUnavailable):
        await published.keys.find("k1")
    published.document = document
    published.now = 2

    assert await published.keys.find("k1") is not None


async def test_a_waiting_request_that_is_cancelled_does_not_cancel_the_fetch_of_others() -> None:
    published = Published()
    first = asyncio.create_task(published.keys.find("k1"))
    second = asyncio.create_task(published.keys.find("k1"))
    await asyncio.sleep(0)
    first.cancel()

    assert await second is not None


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"keys": {}},
        {"keys": [1, None, "x", {}, {"kty": "OKP"}]},
        {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": "AAAA"}]},
        {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": 1}]},
        {"keys": [{"kty": "RSA", "kid": "k1", "n": "AQAB", "e": "AQAB"}]},
        {"keys": [{"kty": "oct", "kid": "k1", "k": "AAAA"}]},
    ],
)
async def test_a_key_set_that_is_none_gives_no_key(document: Any) -> None:
    published = Published()
    published.document = document
    try:
        assert await published.keys.find("k1") is None
    except KeysUnavailable:
        assert not isinstance(document.get("keys"), list)


async def test_an_encryption_key_signs_nothing() -> None:
    published = Published()
    published.document["keys"][0]["use"] = "enc"

    assert await published.keys.find("k1") is None


def test_a_published_key_set_has_no_private_half() -> None:
    document = KeySet({"k1": generate_key()}).public()

    assert "d" not in document["keys"][0]


async def test_remote_validation_believes_the_claims_that_auth_service_returns() -> None:
    issuer = Issuer()
    asked: list[str] = []

    async def ask(token: str) -> dict[str, Any]:
        asked.append(token)
        return claims()

    validate = RemoteValidation(ask, issuer="mtenant-auth", audiences=AUDIENCES)
    token = issuer.token("acme")

    assert (await validate(token)).tenant == "acme"
    assert asked == [token]
    with pytest.raises(InvalidToken):
        await validate("nonsense")
    assert asked == [token]


async def test_remote_validation_checks_what_it_is_told() -> None:
    async def ask(token: str) -> dict[str, Any]:
        return claims(aud="somebody-else")

    with pytest.raises(InvalidToken):
        await RemoteValidation(ask, issuer="mtenant-auth", audiences=AUDIENCES)(Issuer().token("a"))
