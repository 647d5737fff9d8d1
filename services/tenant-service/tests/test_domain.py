from __future__ import annotations

import doctest
import importlib
import pkgutil
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, TypeAdapter, ValidationError

import tenant_service
from tenant_service.domain.errors import PlanLimitReached
from tenant_service.domain.person import Email
from tenant_service.domain.plan import PLANS, plan_named
from tenant_service.domain.registration import Application, Owner
from tenant_service.domain.settings import Preferences, TenantSettings
from tenant_service.domain.subdomain import RESERVED, Subdomain, is_subdomain, normal
from tenant_service.domain.token import new_token, read_token

SUBDOMAIN = TypeAdapter(Subdomain)


def test_the_examples_of_the_docstrings_hold() -> None:
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(tenant_service.__path__, "tenant_service.")
        if not found.name.endswith("__main__")
    ]
    results = [doctest.testmod(module) for module in (tenant_service, *modules)]
    assert sum(result.attempted for result in results) > 10
    assert sum(result.failed for result in results) == 0


@given(st.text(min_size=1, max_size=70))
def test_whatever_is_a_subdomain_is_a_label_of_dns(text: str) -> None:
    try:
        name = SUBDOMAIN.validate_python(text)
    except ValidationError:
        return
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{1,61}[a-z0-9])", name, re.ASCII)
    assert name[2:4] != "--"
    assert name.encode("idna").decode() == name
    assert normal(name) == name


@given(st.from_regex(r"[a-z0-9][a-z0-9]{0,30}(-[a-z0-9]{1,10}){0,2}[a-z0-9]", fullmatch=True))
def test_an_ordinary_name_is_a_subdomain(text: str) -> None:
    if 3 <= len(text) <= 63 and not re.fullmatch("[0-9a-f]{32}", text) and text[2:4] != "--":
        assert SUBDOMAIN.validate_python(text) == text


@given(st.from_regex(r"[A-Za-z0-9-]{1,40}", fullmatch=True))
def test_the_published_pattern_is_the_rule(text: str) -> None:
    pattern = SUBDOMAIN.json_schema()["pattern"]
    published = 3 <= len(text) <= 63 and re.search(pattern, text) is not None
    assert published == is_subdomain(text.lower())


def test_every_reserved_name_would_be_a_subdomain_or_is_too_short() -> None:
    for name in RESERVED:
        assert len(name) < 3 or normal(name) == name


@given(st.text(max_size=100))
def test_what_is_read_as_a_token_has_its_form(text: str) -> None:
    token = read_token(text)
    assert token is None or (token.text == text and text.startswith(f"{token.tenant}."))


def test_a_new_token_is_read_back_and_not_shown() -> None:
    token = new_token("acme")
    assert read_token(token.text) == token
    assert token.text not in repr(token)
    assert new_token("acme").digest != token.digest


def test_a_key_of_a_client_is_of_its_request() -> None:
    def of(**changes: str) -> Application:
        said = {
            "name": "Acme",
            "subdomain": "acme",
            "email": "a@example.com",
            "key": "k",
            **changes,
        }
        owner = Owner(said["email"], "Ada", SecretStr(said.get("password", "p")))
        return Application(said["name"], said["subdomain"], owner, said["key"])

    assert of().key_digest == of(name="Other").key_digest
    assert of().fingerprint != of(name="Other").fingerprint
    for other in (of(subdomain="other"), of(email="b@example.com"), of(key="l")):
        assert other.key_digest != of().key_digest
    # No digest of a password is stored: it could be guessed from.
    assert of(password="other").fingerprint == of().fingerprint
    assert "'p'" not in repr(of())


def test_a_plan_is_full_at_its_number() -> None:
    free = PLANS["free"]
    assert free.users == 5
    free.check_users(4)
    with pytest.raises(PlanLimitReached):
        free.check_users(5)
    PLANS["enterprise"].check_users(10**9)
    assert plan_named("a plan of long ago") is free


def test_stored_values_of_another_release_are_read() -> None:
    assert TenantSettings.of_row({"currency": "EUR", "of_tomorrow": 1}).currency == "EUR"
    assert Preferences.of_row({}) == Preferences()


@pytest.mark.parametrize(
    "address",
    ["a@b\r\nBcc: c@d", "a@b, c@d", "<a@b>", "a b@c", "@", "a@" + "b" * 300, "a@b\x00"],
)
def test_an_address_that_is_more_than_one_mailbox_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Email).validate_python(address)
