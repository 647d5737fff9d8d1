"""Tokens whose keys, or whose word, come from auth-service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import Request, Response

from mtenant_chassis import App, KeySet, Router, authenticated, create_app, public, set_static
from mtenant_chassis.auth import CurrentPrincipal
from mtenant_chassis.auth.token import InvalidToken
from mtenant_chassis.settings import AuthSettings
from mtenant_chassis.testing import Issuer, Network, Place, running

pytestmark = pytest.mark.anyio


class Auth:
    """Stands in for auth-service: its keys, and its word about a token."""

    def __init__(self, place: Place, issuer: Issuer) -> None:
        self.issuer = issuer
        self.published = KeySet({issuer.kid: issuer.key})
        self.revoked: set[str] = set()
        self.asked = 0
        router = Router()

        @router.get("/.well-known/jwks.json", dependencies=[public()])
        async def keys(response: Response) -> dict[str, Any]:
            self.asked += 1
            set_static(response, b"keys", seconds=300)
            return self.published.public()

        @router.get("/api/auth/validate-token", dependencies=[authenticated()])
        async def validate(request: Request, user: CurrentPrincipal) -> dict[str, Any]:
            self.asked += 1
            if request.headers["authorization"] in self.revoked:
                raise InvalidToken
            return {
                "iss": "mtenant-auth",
                "aud": "mtenant",
                "sub": user.id,
                "tenant_id": user.tenant,
                "roles": list(user.roles),
                "iat": 1,
                "exp": user.expires,
                "jti": "j",
            }

        self.app = create_app(place.settings("auth-service"), routers=[router], keys=issuer.keys)


@pytest.fixture
def auth(place: Place, issuer: Issuer) -> Auth:
    return Auth(place, issuer)


@pytest.fixture
def asking(notes_app: Any, auth: Auth) -> Callable[..., App]:
    """Make the app of the notes, which has no keys of its own."""

    def make(validation: Any = "local", *, there: bool = True) -> App:
        app: App = notes_app(
            keys=None,
            transport=Network({"auth": auth.app} if there else {}),
            auth=AuthSettings(validation=validation),
            services={"auth-service": "http://auth"},
        )
        return app

    return make


@pytest.mark.parametrize("validation", ["local", "remote"])
async def test_a_token_is_believed_by_what_auth_service_says(
    asking: Any, auth: Auth, issuer: Issuer, acme: str, validation: str
) -> None:
    async with running(auth.app), running(asking(validation)) as client:
        member = issuer.bearer(acme, "member")
        good = [await client.get("/api/notes/me", headers=member) for _ in range(3)]
        forged = await client.get("/api/notes/me", headers=Issuer().bearer(acme, "owner"))
        none = await client.get("/api/notes/me")

    assert [one.json() for one in good] == ["user:u1"] * 3
    assert (forged.status_code, forged.json()["code"]) == (401, "TOKEN_INVALID")
    assert none.status_code == 401
    assert auth.asked == (1 if validation == "local" else 3)


async def test_a_revoked_token_is_refused_at_once_where_auth_service_is_asked(
    asking: Any, auth: Auth, issuer: Issuer, acme: str
) -> None:
    async with running(auth.app), running(asking("remote")) as client:
        member = issuer.bearer(acme, "member")
        before = await client.get("/api/notes/me", headers=member)
        auth.revoked.add(member["authorization"])
        after = await client.get("/api/notes/me", headers=member)

    assert (before.status_code, after.status_code) == (200, 401)


async def test_a_new_key_is_found_when_its_first_token_comes(
    asking: Any, auth: Auth, issuer: Issuer, acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtenant_chassis.auth.keys.PAUSE", 0.0)
    async with running(auth.app), running(asking()) as client:
        old = await client.get("/api/notes/me", headers=issuer.bearer(acme, "member"))
        new = Issuer()
        auth.published = KeySet({issuer.kid: issuer.key, new.kid: new.key})
        both = [
            await client.get("/api/notes/me", headers=one.bearer(acme, "member"))
            for one in (new, issuer)
        ]

    assert [one.status_code for one in (old, *both)] == [200, 200, 200]


@pytest.mark.parametrize("validation", ["local", "remote"])
async def test_without_auth_service_nobody_is_let_in_and_nobody_is_told_that_he_is_wrong(
    asking: Any, issuer: Issuer, acme: str, validation: str
) -> None:
    async with running(asking(validation, there=False)) as client:
        member = issuer.bearer(acme, "member")
        asked = await client.get("/api/notes/me", headers=member)
        public_ = await client.get("/api/notes/open", headers=member)
        nobody = await client.get("/api/notes/me")
        ready = await client.get("/ready")

    assert asked.status_code == 503
    assert asked.json()["retryable"]
    assert int(asked.headers["retry-after"]) >= 1
    assert public_.status_code == 200
    assert nobody.status_code == 401
    assert ready.status_code == 200
