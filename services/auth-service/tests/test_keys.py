from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_service.domain.signing_key import (
    AHEAD,
    LINGER,
    SHORTEST_ROTATION,
    Plan,
    Seal,
    SealBroken,
    StoredKey,
    plan,
)
from auth_service.handlers.signing_keys import given_keys, replace_keys, stored_keys
from auth_service.keyring import Keyring, LoadedKeys
from mtenant_chassis import KeySet
from mtenant_chassis.auth import generate_key
from mtenant_chassis.testing import Place
from mtenant_config import Secret
from mtenant_database import Database

START = datetime(2026, 1, 1, tzinfo=UTC)
ROTATION = timedelta(days=30)
TOKEN = timedelta(minutes=10)


def stored(kid: str, at: datetime) -> StoredKey:
    return StoredKey(kid, b"", at)


def carried_out(keys: list[StoredKey], todo: Plan, number: int) -> list[StoredKey]:
    kept = [key for key in keys if key.kid not in todo.drop]
    return kept if todo.add_from is None else [*kept, stored(f"k{number}", todo.add_from)]


@given(
    steps=st.lists(st.timedeltas(timedelta(seconds=1), timedelta(days=3)), max_size=60),
    rotation=st.timedeltas(SHORTEST_ROTATION, timedelta(days=40)),
)
def test_whenever_somebody_looks_a_key_signs_that_was_published_before_and_stays_long_enough(
    steps: list[timedelta], rotation: timedelta
) -> None:
    now, keys = START, list[StoredKey]()
    published: dict[str, datetime] = {}
    signed: dict[str, datetime] = {}
    for number, step in enumerate(steps):
        now += step
        keys = carried_out(keys, plan(keys, now=now, rotation=rotation), number)
        todo = plan(keys, now=now, rotation=rotation)
        assert not todo.changes  # once is enough
        assert todo.signer is not None
        for key in keys:
            published.setdefault(key.kid, now)
        signer = todo.signer.kid
        if len(published) > 1 and signer not in signed:
            assert published[signer] + AHEAD <= now
        signed[signer] = now
        for kid, last in signed.items():
            # A token that was signed at the last look is good for ten minutes more.
            if last + TOKEN >= now:
                assert kid in {key.kid for key in keys}
        assert len(keys) <= 3


def test_the_first_key_signs_at_once() -> None:
    assert plan([], now=START, rotation=ROTATION) == Plan(None, (), START)


def test_the_next_key_is_there_before_it_is_due() -> None:
    first = stored("k1", START)
    due = START + ROTATION
    early = plan([first], now=due - AHEAD - timedelta(seconds=1), rotation=ROTATION)
    ready = plan([first], now=due - AHEAD, rotation=ROTATION)
    late = plan([first], now=due + timedelta(days=9), rotation=ROTATION)

    assert early == Plan(first, (), None)
    assert ready == Plan(first, (), due)
    assert late.add_from == due + timedelta(days=9) + AHEAD


def test_an_old_key_goes_an_hour_after_its_successor_began() -> None:
    first, second = stored("k1", START), stored("k2", START + ROTATION)
    keys = [second, first]
    before = plan(keys, now=second.signs_from + LINGER - timedelta(seconds=1), rotation=ROTATION)
    after = plan(keys, now=second.signs_from + LINGER, rotation=ROTATION)

    assert (before.drop, after.drop) == ((), ("k1",))
    assert before.signer == after.signer == second


def test_what_is_sealed_opens_by_the_same_secret_under_the_same_name_alone() -> None:
    key, seal = generate_key(), Seal(b"k" * 32)
    sealed = seal.close("k1", key)
    opened = seal.open(StoredKey("k1", sealed, START))

    assert opened.as_dict(private=True) == key.as_dict(private=True)
    assert str(key.as_dict(private=True)["d"]).encode() not in sealed
    assert seal.close("k1", key) != sealed
    for wrong, name, text in (
        (Seal(b"x" * 32), "k1", sealed),
        (seal, "k2", sealed),
        (seal, "k1", sealed[:-1] + bytes([sealed[-1] ^ 1])),
        (seal, "k1", sealed[:5]),
        (seal, "k1", b""),
    ):
        with pytest.raises(SealBroken, match=f"{name} cannot be opened"):
            wrong.open(StoredKey(name, text, START))


def private_set(*kids: str) -> str:
    return json.dumps(
        {"keys": [{**generate_key().as_dict(private=True), "kid": kid} for kid in kids]}
    )


def test_keys_of_a_setting_are_all_published_and_the_first_signs() -> None:
    loaded = given_keys(private_set("new", "old"))

    assert (loaded.signer, list(loaded.keys.keys)) == ("new", ["new", "old"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"keys": []}',
        '{"keys": [{}]}',
        '{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "AA", "d": "SECRET"}]}',
        '{"keys": [{"kty": "RSA", "crv": "Ed25519", "kid": "a"}]}',
        json.dumps(generate_key().as_dict(private=False)),
    ],
)
def test_a_setting_that_holds_no_private_keys_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="AUTH_SIGNING_KEYS is no JWK set") as raised:
        given_keys(text)
    assert "SECRET" not in str(raised.value)


@pytest.fixture
async def database(postgres_dsn: str) -> Any:
    from auth_service.app import MIGRATIONS  # noqa: PLC0415 - of this fixture only

    # A database of its own: the keys of one are shared by all that use it.
    place = await asyncio.to_thread(Place.make, postgres_dsn, {"auth": MIGRATIONS})
    async with Database(place.settings("auth-service").database) as opened:
        yield opened


@pytest.mark.anyio
async def test_processes_that_start_at_once_agree_on_one_key(database: Database) -> None:
    seal = Seal(b"k" * 32)
    loaded = await asyncio.gather(
        *(stored_keys(database.shared(), seal, rotation=ROTATION) for _ in range(8))
    )

    assert len({one.signer for one in loaded}) == 1
    assert {tuple(one.keys.keys) for one in loaded} == {(loaded[0].signer,)}


@pytest.mark.anyio
async def test_another_secret_stops_the_start_and_says_what_to_do(database: Database) -> None:
    await stored_keys(database.shared(), Seal(b"k" * 32), rotation=ROTATION)

    with pytest.raises(SealBroken, match="AUTH_SECRET is not the one"):
        await stored_keys(database.shared(), Seal(b"x" * 32), rotation=ROTATION)


@pytest.mark.anyio
async def test_keys_follow_one_another_in_the_database(database: Database) -> None:
    seal, shared = Seal(b"k" * 32), database.shared()
    first = await stored_keys(shared, seal, rotation=ROTATION)
    await shared.execute("update shared.signing_keys set signs_from = now() - interval '31 days'")
    both = await stored_keys(shared, seal, rotation=ROTATION)
    await shared.execute(
        "update shared.signing_keys set signs_from = signs_from - interval '20 minutes'"
    )
    second = await stored_keys(shared, seal, rotation=ROTATION)
    await shared.execute("update shared.signing_keys set signs_from = signs_from - interval '1 h'")
    last = await stored_keys(shared, seal, rotation=ROTATION)

    assert both.signer == first.signer
    (new,) = set(both.keys.keys) - {first.signer}
    assert (second.signer, set(second.keys.keys)) == (new, {first.signer, new})
    assert (last.signer, set(last.keys.keys)) == (new, {new})


@pytest.mark.anyio
async def test_keys_that_were_stolen_are_replaced_at_once(database: Database) -> None:
    seal, shared = Seal(b"k" * 32), database.shared()
    old = await stored_keys(shared, seal, rotation=ROTATION)
    kid = await replace_keys(shared, seal)
    new = await stored_keys(shared, seal, rotation=ROTATION)

    assert (new.signer, set(new.keys.keys)) == (kid, {kid})
    assert kid != old.signer


@pytest.mark.anyio
async def test_a_keyring_keeps_what_it_has_while_the_database_is_away_and_takes_what_is_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("auth_service.keyring.EVERY", 0.001)
    keys = {"a": generate_key()}
    away, looks = False, 0

    async def load() -> LoadedKeys:
        nonlocal looks
        looks += 1
        if away:
            raise OSError("away")
        return LoadedKeys(KeySet(dict(keys)), max(keys))

    async def looked() -> None:
        since = looks
        async with asyncio.timeout(30):
            while looks < since + 2:
                await asyncio.sleep(0.001)

    keyring = Keyring()
    async with keyring.open(load):
        generation = keyring.generation
        away = True
        await looked()
        assert await keyring.find("a") is keys["a"]
        assert keyring.generation == generation
        away = False
        keys["b"] = generate_key()
        await looked()
        assert await keyring.find("b") is keys["b"]
        assert keyring.generation == generation + 1


@pytest.mark.anyio
async def test_a_key_that_nobody_knows_is_looked_for_once_in_a_while() -> None:
    looks = 0

    async def load() -> LoadedKeys:
        nonlocal looks
        looks += 1
        return LoadedKeys(KeySet({"a": generate_key()}), "a")

    keyring = Keyring()
    async with keyring.open(load):
        for number in range(100):
            assert await keyring.find(f"x{number}") is None
    assert looks == 1
    keyring._looked -= 10
    assert await keyring.find("x") is None
    assert looks == 2


@pytest.mark.anyio
async def test_the_key_set_is_public_may_be_kept_and_holds_no_private_half(world: Any) -> None:
    answer = await world.http.get("/.well-known/jwks.json")
    again = await world.http.get(
        "/.well-known/jwks.json", headers={"if-none-match": answer.headers["etag"]}
    )

    (key,) = answer.json()["keys"]
    assert set(key) == {"kid", "kty", "crv", "x", "use", "alg"}
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.anyio
async def test_two_processes_believe_each_others_tokens(make_world: Any, acme: str) -> None:
    async with make_world() as one, make_world() as two:
        ada = await one.person(acme)
        there = await two.http.get("/api/auth/profile", headers=ada.bearer)
        refreshed = await two.refresh(ada.refresh)
        back = {"authorization": f"Bearer {refreshed.json()['access_token']}"}
        here = await one.http.get("/api/auth/profile", headers=back)

    assert (there.status_code, refreshed.status_code, here.status_code) == (200, 200, 200)


@pytest.mark.anyio
async def test_with_keys_of_a_setting_none_is_stored(make_world: Any, acme: str) -> None:
    text = private_set("mine")
    async with make_world(signing_keys=Secret(text)) as world:
        await world.person(acme)
        found = (await world.http.get("/.well-known/jwks.json")).json()["keys"]

    assert [key["kid"] for key in found] == ["mine"]


@pytest.mark.anyio
async def test_a_laptop_needs_no_secret(make_world: Any, acme: str) -> None:
    async with make_world(secret=None) as world:
        ada = await world.person(acme)
        assert (await world.refresh(ada.refresh)).status_code == 200
