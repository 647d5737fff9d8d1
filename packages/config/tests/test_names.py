from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_config.names import fold, key_of, near, near_variable, variable

WORDS = st.from_regex(r"[a-z][a-z0-9]{0,8}(_[a-z0-9]{1,8}){0,3}", fullmatch=True)
KEYS = st.lists(WORDS, min_size=1, max_size=4).map(".".join)


@given(KEYS)
def test_a_key_and_its_variable_name_each_other(key: str) -> None:
    assert key_of(variable(key, "CRM"), "CRM") == key


@given(KEYS)
def test_folding_a_folded_key_changes_nothing(key: str) -> None:
    assert fold(key) == key


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("maxConns", "max_conns"),
        ("MaxConns", "max_conns"),
        ("max-conns", "max_conns"),
        ("MAX_CONNS", "max_conns"),
        ("max conns", "max_conns"),
        ("db.HTTPPort", "db.http_port"),
        ("db.dbURL", "db.db_url"),
        ("oauth2Client", "oauth2_client"),
        ("a.B-c.dE", "a.b_c.d_e"),
    ],
)
def test_every_spelling_folds_to_the_same_key(written: str, folded: str) -> None:
    assert fold(written) == folded


@pytest.mark.parametrize(
    "name",
    ["CRM", "CRM_", "CRM__", "CRM___X", "CRM_A____B", "CRMX_A", "crm_a", "CRM_a", "PATH", "CRM_A__",
     "XCRM_A", "CRM_A.B"],
)  # fmt: skip
def test_a_variable_that_names_no_key_of_ours_is_none(name: str) -> None:
    assert key_of(name, "CRM") is None


@pytest.mark.parametrize(
    ("wanted", "given_name"),
    [
        ("CRM_DB__HOST", "CRM_DB_HOST"),  # one underscore
        ("CRM_DB_HOST", "CRM_DB__HOST"),  # two
        ("CRM_DB__HOST", "crm_db__host"),  # case
        ("CRM_DB__HOST", "DB__HOST"),  # no prefix
        ("CRM_DB__HOST", "DB_HOST"),
        ("CRM_DB__HOST", "CRN_DB__HOST"),  # another prefix
        ("CRM_DB__HOST", "CRM_DB__HSOT"),  # misspelt
        ("DATABASE_URL", "DATABASEURL"),
        ("DATABASE_URL", "CRM_DATABASE_URL"),
    ],
)
def test_a_near_miss_is_found_among_others(wanted: str, given_name: str) -> None:
    others = ["PATH", "HOME", "LANG", "PWD", "HOSTNAME", "PYTHONPATH", "SHLVL"]
    assert near_variable(wanted, "CRM", [*others, given_name]) == given_name


@pytest.mark.parametrize("wanted", ["CRM_HOST", "CRM_DB__HOST", "PORT", "DATABASE_URL"])
def test_what_is_not_near_is_not_suggested(wanted: str) -> None:
    others = ["PATH", "HOME", "HOSTNAME", "SSH_HOST", "X_Y", "CRM_LEVEL", "REPORT_FILE"]
    assert near_variable(wanted, "CRM", others) is None


def test_a_name_is_never_suggested_for_itself() -> None:
    assert near_variable("CRM_PORT", "CRM", ["CRM_PORT"]) is None


def test_the_same_letters_are_nearer_than_a_similar_word() -> None:
    assert near("max_conns", ["max_conn", "maxConns"]) == "maxConns"
    assert near("anything", []) is None
