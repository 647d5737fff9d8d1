from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from auth_service.domain.api_key import ApiKeyId, digest_of, new_secret
from auth_service.domain.client import parse_clients
from auth_service.domain.email import Email
from auth_service.domain.errors import (
    HashingBusy,
    OwnAccount,
    PasswordWeak,
    RefreshTokenInvalid,
    RoleTooLow,
)
from auth_service.domain.mail import known_mail, reset_mail, verification_mail, welcome_mail
from auth_service.domain.one_time_token import new_token, read_token
from auth_service.domain.password import Passwords, check_new
from auth_service.domain.refresh_token import GRACE, RefreshToken, RefreshTokens, judge
from auth_service.domain.role import check_may_change
from mtenant_chassis import Mail, Principal
from mtenant_chassis.auth import ROLES

TENANTS = st.from_regex(r"[a-z0-9][a-z0-9_]{0,55}", fullmatch=True)
TOKENS = st.builds(RefreshToken, TENANTS, st.uuids(), st.integers(0, 10**18 - 1))


@given(token=TOKENS)
def test_a_refresh_token_is_read_as_it_was_written(token: RefreshToken) -> None:
    tokens = RefreshTokens(b"k" * 32)

    assert tokens.read(tokens.write(token)) == token
    assert tokens.write(token) == tokens.write(token)


@given(token=TOKENS, data=st.data())
def test_a_refresh_token_that_differs_in_one_character_is_none(
    token: RefreshToken, data: st.DataObject
) -> None:
    tokens = RefreshTokens(b"k" * 32)
    text = tokens.write(token)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda one: one != text[at]))

    with pytest.raises(RefreshTokenInvalid):
        tokens.read(text[:at] + other + text[at + 1 :])


@given(token=TOKENS)
def test_a_refresh_token_of_another_key_is_none(token: RefreshToken) -> None:
    with pytest.raises(RefreshTokenInvalid):
        RefreshTokens(b"k" * 32).read(RefreshTokens(b"x" * 32).write(token))


@given(text=st.text(max_size=300))
def test_no_text_breaks_the_readers(text: str) -> None:
    with pytest.raises(RefreshTokenInvalid):
        RefreshTokens(b"k" * 32).read(text)
    assert read_token(text) is None or "." in text
    assert ApiKeyId.read(text) is None


def test_two_spellings_of_one_counter_are_not_both_good() -> None:
    tokens = RefreshTokens(b"k" * 32)
    text = tokens.write(RefreshToken("acme", UUID(int=1), 7))
    for spelling in (".07.", ".+7.", ". 7.", ".7 .", ".\u0667."):
        with pytest.raises(RefreshTokenInvalid):
            tokens.read(text.replace(".7.", spelling))


@given(
    presented=st.integers(0, 20),
    counter=st.integers(0, 20),
    seconds=st.none() | st.floats(0, 60),
    alive=st.booleans(),
)
def test_the_successor_is_given_again_to_the_previous_token_in_the_grace_and_to_no_other(
    presented: int, counter: int, seconds: float | None, alive: bool
) -> None:
    since = None if seconds is None else timedelta(seconds=seconds)
    verdict = judge(presented, counter=counter, since_rotation=since, alive=alive)

    fresh = since is not None and since <= GRACE
    assert (verdict == "again") == (alive and presented + 1 == counter and fresh)
    assert (verdict == "stolen") == (alive and presented < counter and verdict != "again")


@given(tenant=TENANTS)
def test_a_one_time_token_says_where_it_belongs_and_its_digest_says_nothing(tenant: str) -> None:
    text, token = new_token(tenant)

    assert read_token(text) == token
    assert token.tenant == tenant
    assert text.encode() not in token.digest
    assert new_token(tenant)[0] != text


@given(tenant=TENANTS, key=st.uuids())
def test_an_api_keys_id_is_read_as_it_was_written(tenant: str, key: UUID) -> None:
    assert ApiKeyId.read(ApiKeyId(tenant, key).text) == ApiKeyId(tenant, key)


def test_a_secret_is_its_digest_and_no_two_are_alike() -> None:
    one, digest = new_secret()

    assert digest_of(one) == digest
    assert new_secret()[0] != one
    assert len(digest_of("\ud800")) == 32


@pytest.mark.parametrize(
    ("given_text", "spelling"),
    [
        ("Ada@Example.COM", "ada@example.com"),
        ("cafe\u0301@example.com", "caf\u00e9@example.com"),
        ("a+b@example.com", "a+b@example.com"),
    ],
)
def test_an_address_has_one_spelling(given_text: str, spelling: str) -> None:
    assert TypeAdapter(Email).validate_python(given_text) == spelling


@given(text=st.text(min_size=1, max_size=260) | st.from_regex(r"[^@\s]{1,200}@[^@\s]{1,100}"))
def test_an_address_that_is_taken_can_be_written_to(text: str) -> None:
    try:
        email = TypeAdapter(Email).validate_python(text)
    except ValidationError:
        return
    assert email == TypeAdapter(Email).validate_python(email)
    assert Mail(to=email, subject="x", text="y").to == email


@pytest.mark.parametrize("make", [reset_mail, welcome_mail, verification_mail])
def test_a_mails_token_stands_behind_a_hash_which_no_server_gets_to_see(make: Any) -> None:
    linked = make("ada@example.com", "acme.TOKEN", app_url="https://app.example.com")
    bare = make("ada@example.com", "acme.TOKEN", app_url=None)

    assert "https://app.example.com/" in linked.text
    assert "#token=acme.TOKEN" in linked.text
    assert "acme.TOKEN" in bare.text
    assert "TOKEN" not in repr(linked) + linked.subject
    assert "https://app.example.com" in known_mail("a@b", app_url="https://app.example.com").text


@pytest.mark.parametrize(
    "password", ["ada@example.com", "lovelace@example.com1", "aaaaaaaaaaaaaaa", "Lovelace1234"]
)
def test_a_password_made_of_the_address_is_weak(password: str) -> None:
    with pytest.raises(PasswordWeak):
        check_new(password, email="lovelace@example.com" if "ove" in password else password)


def test_a_sentence_is_a_good_password() -> None:
    check_new("correct horse battery staple", email="ada@example.com")
    check_new("ada@example.com and more than that", email="ada@example.com")


def cheap(**changes: int) -> Passwords:
    return Passwords(**{"memory": 8192, "passes": 1, "workers": 2, **changes})


def test_a_password_is_verified_by_its_hash_and_nobodys_hash_by_nothing() -> None:
    async def main() -> None:
        async with cheap() as passwords:
            known = await passwords.hash("caf\u00e9 \u2460")
            assert known.startswith("$argon2id$")
            assert await passwords.verify(known, "cafe\u0301 1")
            assert not await passwords.verify(known, "cafe 1")
            assert not await passwords.verify(None, "cafe 1")
            assert not await passwords.verify("no hash", "cafe 1")
            assert not passwords.outdated(known)
            assert cheap(passes=2).outdated(known)
            assert cheap(memory=16384).outdated(known)

    asyncio.run(main())


def test_hashes_run_so_many_at_a_time_and_the_rest_is_told_to_come_again() -> None:
    async def main() -> None:
        async with cheap(workers=1) as passwords:
            found = await asyncio.gather(
                *(passwords.hash("x") for _ in range(100)), return_exceptions=True
            )
            busy = [one for one in found if isinstance(one, HashingBusy)]
            assert len(busy) == 100 - 65
            assert all(one.retry_after == 1 for one in busy)
            assert await passwords.verify(str(found[0]), "x")

    asyncio.run(main())


def test_a_client_that_hangs_up_frees_no_place_before_its_hash_is_done() -> None:
    async def main() -> None:
        async with cheap(workers=1, memory=16 * 1024 * 1024) as passwords:
            tasks = [asyncio.create_task(passwords.hash("x")) for _ in range(65)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with pytest.raises(HashingBusy):
                await passwords.hash("x")

    asyncio.run(main())


def test_passwords_are_hashed_while_they_are_open() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        asyncio.run(cheap().hash("x"))


def test_nobody_changes_who_is_above_or_gives_more_than_they_have() -> None:
    for own, actor_role in enumerate(ROLES):
        actor = Principal(id="a", tenant="t", roles=(actor_role,))
        for rank, role in enumerate(ROLES):
            if rank <= own:
                check_may_change(actor, "b", role)
            else:
                with pytest.raises(RoleTooLow):
                    check_may_change(actor, "b", role)
                with pytest.raises(RoleTooLow):
                    check_may_change(actor, "b", "viewer", role)
        with pytest.raises(OwnAccount):
            check_may_change(actor, "a", actor_role)
    service = Principal(id="a", tenant="t", kind="service")
    check_may_change(service, "a", "owner")
    with pytest.raises(RoleTooLow):
        check_may_change(replace(service, kind="user"), "b", "viewer")


def test_clients_are_read_and_both_secrets_of_one_are_good() -> None:
    secrets = ["0123456789abcdef", "fedcba9876543210"]
    clients = parse_clients(
        json.dumps({"deal-service": {"secrets": secrets, "scopes": ["contacts:read"]}})
    )
    client = clients["deal-service"]

    assert client.scopes == ("contacts:read",)
    assert [client.knows(one) for one in (*secrets, "", "0123456789abcdeF", "\ud800")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert "0123456789abcdef" not in repr(client)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"Deal": {"secrets": ["0123456789abcdef"]}}',
        '{"deal-service": "0123456789abcdef"}',
        '{"deal-service": {"secrets": "0123456789abcdef"}}',
        '{"deal-service": {"secrets": ["short"]}}',
        '{"deal-service": {"secrets": [7]}}',
        '{"deal-service": {"secrets": ["0123456789abcdef"], "scopes": "a:read"}}',
        '{"deal-service": {"secrets": ["0123456789abcdef"], "scopes": ["a"]}}',
        '{"deal-service": {"secrets": ["0123456789abcdef"], "more": 1}}',
    ],
)
def test_clients_that_are_none_are_refused_without_a_secret_in_the_message(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as raised:
        parse_clients(text)
    assert "0123456789abcdef" not in str(raised.value)
