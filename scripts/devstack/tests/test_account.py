from __future__ import annotations

import os
from pathlib import Path

import pytest

from mtenant_devstack import DevstackError
from mtenant_devstack.account import Account, server_account


def test_an_ordinary_user_runs_the_servers_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert server_account() is None


def test_where_there_is_no_root_there_is_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "geteuid")  # as on Windows

    assert server_account() is None


def test_root_hands_them_to_the_first_account_that_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    account = server_account(("no-such-account", "nobody"))

    assert account is not None
    assert account.name == "nobody"
    assert account.uid != 0


def test_root_without_such_an_account_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    with pytest.raises(DevstackError, match="no account no-such-account to run it as"):
        server_account(("no-such-account",))


def test_an_account_reaches_what_is_below_open_directories_only(open_tmp: Path) -> None:
    account = Account("nobody", 65534, 65534)
    (open_tmp / "closed").mkdir(mode=0o700)

    assert account.reaches(open_tmp / "file")
    assert not account.reaches(open_tmp / "closed" / "file")
