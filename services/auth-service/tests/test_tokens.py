from __future__ import annotations

import hmac
import json
import time
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from joserfc.jwk import OKPKey

from mtenant_chassis import AccessToken
from mtenant_chassis.auth import generate_key

pytestmark = pytest.mark.anyio


def encoded(raw: bytes | dict[str, Any]) -> str:
    data = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def compact(key: OKPKey, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Sign anything: what a library refuses to write, too."""
    said = f"{encoded(header)}.{encoded(claims)}"
    private: Any = key.get_op_key("sign")
    return f"{said}.{encoded(private.sign(said.encode()))}"


def signed(world: Any, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Sign with the service's own key, as only a thief of the key could."""
    present = world.app.state.auth.keyring._present
    full = {"alg": "EdDSA", "typ": "at+jwt", "kid": present.signer, **header}
    return compact(present.keys.keys[present.signer], _present(full), _present(claims))


def _present(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def claims_of(token: str) -> dict[str, Any]:
    """Read a token's claims without any check."""
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def public_key(world: Any) -> dict[str, str]:
    key: dict[str, str] = world.app.state.auth.keyring.public()["keys"][0]
    return key


def hs256(world: Any, claims: dict[str, Any], secret: bytes) -> str:
    header = {"alg": "HS256", "typ": "at+jwt", "kid": public_key(world)["kid"]}
    said = f"{encoded(header)}.{encoded(claims)}"
    return f"{said}.{encoded(hmac.digest(secret, said.encode(), sha256))}"


Forge = Callable[[Any, dict[str, Any], str], str]

HEADERS: dict[str, dict[str, Any]] = {
    "another type": {"typ": "JWT"},
    "a refresh token's type": {"typ": "rt+jwt"},
    "no type": {"typ": None},
    "an unknown crit": {"crit": ["x"], "x": 1},
    "no key id": {"kid": None},
    "another key id": {"kid": "somebody else's"},
    "a key id that is a path": {"kid": "../../dev/null"},
    "a key id that is SQL": {"kid": "' or 1=1 --"},
}
CLAIMS: dict[str, dict[str, Any]] = {
    "another audience": {"aud": "elsewhere"},
    "no audience": {"aud": None},
    "another issuer": {"iss": "somebody"},
    "no issuer": {"iss": None},
    "no end": {"exp": None},
    "an end that is text": {"exp": "9999999999"},
    "over": {"exp": 1},
    "issued tomorrow": {"iat": 9999999999},
    "not yet": {"nbf": 9999999999},
    "no subject": {"sub": None},
    "a tenant that is a path": {"tenant_id": "../acme"},
    "roles that are text": {"roles": "owner"},
    "a session that is none": {"sid": "00000000-0000-4000-8000-000000000000"},
}
FORGERIES: dict[str, Forge] = {
    "HS256 with the public key": lambda world, claims, _: hs256(
        world, claims, public_key(world)["x"].encode()
    ),
    "HS256 with nothing": lambda world, claims, _: hs256(world, claims, b""),
    "a key of its own in jwk": lambda world, claims, _: own_key(world, claims, "jwk"),
    "a key of its own by jku": lambda world, claims, _: own_key(world, claims, "jku"),
    "a key of its own by x5u": lambda world, claims, _: own_key(world, claims, "x5u"),
    "a mebibyte": lambda _world, _claims, token: token + "A" * 1024 * 1024,
    "no signature": lambda _world, _claims, token: token.rpartition(".")[0] + ".",
    "two dots": lambda _world, _claims, _token: "..",
    "another payload": lambda _world, claims, token: ".".join(
        [token.split(".")[0], encoded({**claims, "roles": ["owner"]}), token.split(".")[2]]
    ),
    "with spaces": lambda _world, _claims, token: token.replace(".", ". "),
    **{
        f"alg {name!r}": lambda world, claims, token, name=name: (  # type: ignore[misc]  # a default binds it
            f"{encoded({'alg': name, 'typ': 'at+jwt', 'kid': public_key(world)['kid']})}"
            f".{encoded(claims)}.{token.rpartition('.')[2]}"
        )
        for name in ("none", "None", "NONE", "nOnE", "", None, ["EdDSA"], "HS256", "RS256", "ES256")
    },
    **{
        f"{name} without a signature": lambda world, claims, _, name=name: (  # type: ignore[misc]  # likewise
            f"{encoded({'alg': name, 'typ': 'at+jwt', 'kid': public_key(world)['kid']})}"
            f".{encoded(claims)}."
        )
        for name in ("none", "None", "NONE", "EdDSA")
    },
    **{
        name: lambda world, claims, _, header=header: signed(world, header, claims)  # type: ignore[misc]  # likewise
        for name, header in HEADERS.items()
    },
    **{
        name: lambda world, claims, _, more=more: signed(world, {}, {**claims, **more})  # type: ignore[misc]  # likewise
        for name, more in CLAIMS.items()
    },
}


def own_key(world: Any, claims: dict[str, Any], where: str) -> str:
    key = generate_key()
    kid = public_key(world)["kid"]
    header = {"alg": "EdDSA", "typ": "at+jwt", "kid": kid}
    given = {
        "jwk": key.as_dict(private=False),
        "jku": "http://127.0.0.1:1/keys",
        "x5u": "http://127.0.0.1:1/cert",
    }[where]
    return compact(key, {**header, where: given}, claims)


@pytest.mark.parametrize("name", FORGERIES)
async def test_what_is_no_token_of_ours_is_refused_by_every_way_that_looks(
    standing: Any, acme: str, name: str
) -> None:
    ada = await standing.person(acme)
    forged = FORGERIES[name](standing, claims_of(ada.access), ada.access)
    bearer = {"authorization": f"Bearer {forged}"}
    service = await standing.service_bearer(acme)

    answers = [
        await standing.http.get("/api/auth/validate-token", headers=bearer),
        await standing.http.get("/api/auth/profile", headers=bearer),
    ]
    if len(forged) < 8192:
        answers.append(await standing.http.get("/validate", params={"token": forged}))
        asked = await standing.http.post(
            "/api/auth/introspect", headers=service, data={"token": forged}
        )
        assert asked.json() == {"active": False}

    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (401, "TOKEN_INVALID")
        assert "error=" in answer.headers["www-authenticate"]
        assert forged[:50] not in answer.text


async def test_a_good_token_is_good_by_every_way(world: Any, acme: str) -> None:
    ada = await world.person(acme, "admin")
    service = await world.service_bearer(acme)
    form = {"token": ada.access}

    said = (await world.http.get("/api/auth/validate-token", headers=ada.bearer)).json()
    by_query = (await world.http.get("/validate", params=form)).json()
    by_header = (await world.http.get("/validate", headers=ada.bearer)).json()
    asked = (await world.http.post("/api/auth/introspect", headers=service, data=form)).json()

    assert said == by_query == by_header
    assert asked == {**said, "active": True, "token_type": "Bearer"}
    assert (said["sub"], said["roles"], said["tenant_id"]) == (ada.id, ["admin"], acme)


async def test_the_ed25519_name_of_the_algorithm_is_believed_too(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    token = signed(world, {"alg": "Ed25519"}, claims_of(ada.access))
    bearer = {"authorization": f"Bearer {token}"}

    assert (await world.http.get("/api/auth/profile", headers=bearer)).status_code == 200


async def test_a_refresh_token_is_no_access_token(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    for path in ("validate-token", "profile"):
        bearer = {"authorization": f"Bearer {ada.refresh}"}
        assert (await world.http.get(f"/api/auth/{path}", headers=bearer)).status_code == 401


async def test_without_a_token_the_caller_is_told_that_one_is_needed(world: Any) -> None:
    for path in ("/api/auth/validate-token", "/validate"):
        answer = await world.http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (401, "TOKEN_MISSING")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_introspection_is_for_services(world: Any, acme: str) -> None:
    owner = await world.person(acme, "owner")
    answer = await world.http.post(
        "/api/auth/introspect", headers=owner.bearer, data={"token": owner.access}
    )

    assert (answer.status_code, answer.json()["code"]) == (403, "SERVICES_ONLY")


@pytest.mark.parametrize("shared", [False, True], ids=["database alone", "with the cache"])
async def test_a_session_that_is_over_is_over_at_once_for_whoever_asks(
    make_world: Any, acme: str, redis_url: str, shared: bool
) -> None:
    url = redis_url if shared else None
    async with make_world(redis_url=url) as one, make_world(redis_url=url) as two:
        ada = await one.person(acme)
        seen = [
            await world.http.get("/api/auth/validate-token", headers=ada.bearer)
            for world in (one, two, one, two)
        ]
        await one.http.post("/api/auth/logout", headers=ada.bearer)
        after = [
            await world.http.get("/api/auth/validate-token", headers=ada.bearer)
            for world in (one, two)
        ]

    assert [answer.status_code for answer in seen] == [200] * 4
    assert [answer.status_code for answer in after] == [401] * 2


async def test_a_cached_session_spares_the_database(
    make_world: Any, acme: str, redis_url: str
) -> None:
    async with make_world(redis_url=redis_url) as world:
        ada = await world.person(acme)
        cache = world.app.state.chassis.cache
        found = []
        for _ in range(3):
            answer = await world.http.get("/api/auth/validate-token", headers=ada.bearer)
            found.append((answer.status_code, cache.misses, cache.hits))

    assert found == [(200, 1, 0), (200, 1, 1), (200, 1, 2)]


async def test_the_role_that_is_told_is_the_present_one(
    make_world: Any, acme: str, redis_url: str
) -> None:
    async with make_world(redis_url=redis_url) as world:
        owner, ada = await world.person(acme, "owner"), await world.person(acme, "viewer")
        before = await world.http.get("/api/auth/validate-token", headers=ada.bearer)
        await world.http.put(
            f"/api/auth/users/{ada.id}/role", headers=owner.bearer, json={"role": "manager"}
        )
        after = await world.http.get("/api/auth/validate-token", headers=ada.bearer)

    assert (before.json()["roles"], after.json()["roles"]) == (["viewer"], ["manager"])


async def test_a_token_of_a_tenant_that_is_gone_is_refused(world: Any) -> None:
    keyring = world.app.state.auth.keyring
    token = keyring.sign(
        AccessToken(
            subject="u",
            issuer="mtenant-auth",
            audience="mtenant",
            expires=time.time() + 60,
            tenant="nobody",
            session="00000000-0000-4000-8000-000000000000",
        )
    )
    bearer = {"authorization": f"Bearer {token}"}

    assert (await world.http.get("/api/auth/validate-token", headers=bearer)).status_code == 401


async def test_a_person_without_a_session_is_nobody_here(world: Any, acme: str) -> None:
    keyring = world.app.state.auth.keyring
    plain = AccessToken(
        subject="u", issuer="mtenant-auth", audience="mtenant", expires=time.time() + 60
    )
    for token in (plain, replace(plain, tenant=acme)):
        bearer = {"authorization": f"Bearer {keyring.sign(token)}"}
        answer = await world.http.get("/api/auth/validate-token", headers=bearer)
        assert answer.status_code == 401


async def test_services_get_tokens_for_what_they_were_given(world: Any, acme: str) -> None:
    form = {"grant_type": "client_credentials", "audience": "deal-service", "tenant": acme}
    answers = [
        await world.http.post("/api/auth/token", data=form, auth=("contact-service", secret))
        for secret in ("an-old-secret-of-it", "a-new-secret-of-it")
    ]
    in_body = await world.http.post(
        "/api/auth/token",
        data={
            **form,
            "client_id": "contact-service",
            "client_secret": "a-new-secret-of-it",
        },
    )
    for answer in (*answers, in_body):
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert "refresh_token" not in answer.json()
        claims = claims_of(answer.json()["access_token"])
        assert (claims["sub"], claims["aud"], claims["client_kind"], claims["scope"]) == (
            "contact-service",
            "deal-service",
            "service",
            "",
        )
        assert claims["tenant_id"] == acme


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("contact-service", "wrong"),
        ("contact-service", ""),
        ("nobody", "wrong"),
        ("nobody", "\0" * 32),
        ("", ""),
        ("mak.acme.0", "x"),
        (f"mak.nobody.{'0' * 32}", "x"),
    ],
)
async def test_a_client_that_is_none_gets_nothing(standing: Any, name: str, secret: str) -> None:
    form = {"grant_type": "client_credentials", "audience": "deal-service"}
    answer = await standing.http.post("/api/auth/token", data=form, auth=(name, secret))

    assert (answer.status_code, answer.json()["code"]) == (401, "CLIENT_UNKNOWN")
    assert answer.headers["www-authenticate"] == "Basic"


@pytest.mark.parametrize("field", ["Basic", "Basic !!!", "Basic YQ==", "Basic /w==", "Digest x"])
async def test_an_authorization_that_is_none_gets_nothing(standing: Any, field: str) -> None:
    form = {"grant_type": "client_credentials"}
    answer = await standing.http.post(
        "/api/auth/token", data=form, headers={"authorization": field}
    )

    assert answer.status_code == 401


@pytest.mark.parametrize("audience", [None, "mtenant", "nobody-service", "Deal-Service"])
async def test_a_service_says_whom_it_calls(standing: Any, audience: str | None) -> None:
    form = {"grant_type": "client_credentials"}
    answer = await standing.http.post(
        "/api/auth/token",
        data=form if audience is None else {**form, "audience": audience},
        auth=("contact-service", "a-new-secret-of-it"),
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "AUDIENCE_UNKNOWN")


async def test_a_service_that_is_called_only_gets_nothing(world: Any) -> None:
    form = {"grant_type": "client_credentials", "audience": "contact-service"}
    for secret in ("", "0" * 64, "\0" * 32):
        answer = await world.http.post("/api/auth/token", data=form, auth=("deal-service", secret))
        assert answer.status_code == 401


async def test_another_grant_is_refused(world: Any) -> None:
    form = {"grant_type": "password", "client_id": "a", "client_secret": "b"}
    answer = await world.http.post("/api/auth/token", data=form)

    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_FAILED")


async def test_secrets_in_the_query_count_for_nothing(world: Any) -> None:
    answer = await world.http.post(
        "/api/auth/token",
        params={"client_id": "contact-service", "client_secret": "a-new-secret-of-it"},
        data={"grant_type": "client_credentials"},
    )

    assert answer.status_code == 401


@pytest.mark.parametrize(
    "secret", ["100%25+and more: \u00fc", "100%2525%2Band+more%3A+%C3%BC"], ids=["plain", "encoded"]
)
async def test_a_secret_may_be_encoded_once_or_twice(standing: Any, secret: str) -> None:
    form = {"grant_type": "client_credentials", "audience": "deal-service"}
    field = b64encode(f"odd-service:{secret}".encode()).decode()
    answer = await standing.http.post(
        "/api/auth/token", data=form, headers={"authorization": f"Basic {field}"}
    )

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="grant_type"; filename="a"\r\n\r\n'
            b"client_credentials\r\n--x--\r\n",
        ),
        ("application/x-www-form-urlencoded", b"grant_type=%FF"),
        ("application/x-www-form-urlencoded", b"&" * 5000),
        ("application/x-www-form-urlencoded", b"a=b&" * 5000),
        ("application/json", b'{"grant_type": "client_credentials"}'),
        ("text/plain", b"grant_type=client_credentials"),
    ],
)
async def test_a_form_that_is_none_is_a_bad_request(standing: Any, kind: str, body: bytes) -> None:
    answer = await standing.http.post(
        "/api/auth/token", content=body, headers={"content-type": kind}
    )

    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
