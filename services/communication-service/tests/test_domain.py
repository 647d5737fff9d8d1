"""Tokens, links, machines, texts: rules without I/O."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import communication_service
from communication_service.domain.links import MOST_LINKS, target, track
from communication_service.domain.machine import why_machine
from communication_service.domain.tracking import Purpose, Signer, Token

SIGNER = Signer(["a secret of thirty-two characters"], timedelta(days=30))
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PURPOSES: tuple[Purpose, ...] = ("open", "click", "unsubscribe")
TENANTS = st.from_regex(r"\A[a-z0-9][a-z0-9_]{0,55}\Z")
TOKENS = st.builds(
    Token,
    purpose=st.sampled_from(PURPOSES),
    tenant=TENANTS,
    email=st.uuids(),
    link=st.integers(0, 65_535),
)


@given(TOKENS)
def test_a_token_says_what_was_signed_until_its_last_day(token: Token) -> None:
    text = SIGNER.write(token, now=NOW)
    assert SIGNER.read(text, token.purpose, now=NOW) == token
    assert SIGNER.read(text, token.purpose, now=NOW + timedelta(days=30)) == token
    assert SIGNER.read(text, token.purpose, now=NOW + timedelta(days=31)) is None
    for other in PURPOSES:
        if other != token.purpose:
            assert SIGNER.read(text, other, now=NOW) is None


@given(TOKENS, st.data())
def test_a_token_with_one_bit_changed_is_none(token: Token, data: st.DataObject) -> None:
    text = SIGNER.write(token, now=NOW)
    raw = bytearray(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    forged = urlsafe_b64encode(raw).rstrip(b"=").decode()
    assert SIGNER.read(forged, token.purpose, now=NOW) is None


@given(TOKENS, TENANTS)
def test_a_token_of_another_tenant_cannot_be_made_of_ones_own(token: Token, tenant: str) -> None:
    text = SIGNER.write(token, now=NOW)
    raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    head, mac = raw[:22], raw[-16:]
    forged = urlsafe_b64encode(head + tenant.encode() + mac).rstrip(b"=").decode()
    read = SIGNER.read(forged, token.purpose, now=NOW)
    assert (read is None) == (tenant != token.tenant)


@given(
    st.one_of(
        st.text(max_size=300), st.binary(max_size=200).map(lambda b: urlsafe_b64encode(b).decode())
    )
)
@example("")
@example("é" * 50)
@example("A" * 22)
def test_whatever_is_not_signed_is_none(text: str) -> None:
    assert all(SIGNER.read(text, purpose) is None for purpose in PURPOSES)


def test_a_token_has_one_spelling() -> None:
    text = SIGNER.write(Token("open", "acme", uuid4()), now=NOW)
    for other in (text + "=", text + "==", f" {text}", text + "\n", text.swapcase()):
        assert SIGNER.read(other, "open", now=NOW) is None


def test_the_secret_before_is_believed_and_signs_nothing() -> None:
    old = Signer(["the secret that we had before this one"], timedelta(days=30))
    both = Signer(
        ["a secret of thirty-two characters", "the secret that we had before this one"],
        timedelta(days=30),
    )
    token = Token("click", "acme", uuid4(), 3)
    assert both.read(old.write(token), "click") == token
    assert old.read(both.write(token), "click") is None
    assert SIGNER.read(both.write(token), "click") == token


@pytest.mark.parametrize(
    "href",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java\nscript:alert(1)",
        " javascript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
        "ftp://example.com",
        "//example.com/x",
        "/relative",
        "https:example.com",
        "https:/example.com",
        "https://",
        "https://\\example.com",
        "https://example.com\\@evil.example",
        "http://[::1",
        "https://example.com/" + "x" * 3000,
        "",
        "#part",
    ],
)
def test_only_whole_urls_of_the_web_are_targets(href: str) -> None:
    assert target(href) is None


@given(st.text(max_size=100))
def test_a_target_stands_in_a_header_and_is_of_the_web(href: str) -> None:
    for text in (href, f"https://{href}", f"http://example.com/{href}"):
        url = target(text)
        if url is not None:
            assert url.isascii()
            assert url.isprintable()
            assert " " not in url
            assert urlsplit(url).scheme in {"http", "https"}
            assert urlsplit(url).hostname


def test_links_lead_by_way_of_the_tracker_and_nothing_else_is_changed() -> None:
    page = (
        "<!doctype html><p class=x>a < b</p><A class=\"y\" HREF='https://example.com/a?b=1&amp;c=2'>x</A>"
        '<a href=https://example.org/>y</a><a href="mailto:ada@example.com">m</a><a href="#x">p</a>'
        '<a href="javascript:alert(1)">j</a><abbr href="https://example.net">n</abbr>'
        '<a title="href=\'x\'" href="https://example.com/a?b=1&c=2">again</a><a>none</a><a href>e</a>'
    )
    changed, urls = track(page, lambda n: f"https://t.example/c?t={n}&x")
    assert urls == ["https://example.com/a?b=1&c=2", "https://example.org/"]
    assert changed == (
        '<!doctype html><p class=x>a < b</p><A class="y" HREF="https://t.example/c?t=0&amp;x">x</A>'
        '<a href="https://t.example/c?t=1&amp;x">y</a><a href="mailto:ada@example.com">m</a><a href="#x">p</a>'
        '<a href="#">j</a><abbr href="https://example.net">n</abbr>'
        '<a title="href=\'x\'" href="https://t.example/c?t=0&amp;x">again</a><a>none</a><a href>e</a>'
    )


def test_links_after_the_last_that_is_tracked_lead_where_they_say() -> None:
    page = "".join(f'<a href="https://example.com/{n}">x</a>' for n in range(MOST_LINKS + 2))
    changed, urls = track(page, lambda n: f"https://t.example/{n}")
    assert len(urls) == MOST_LINKS
    assert changed.count("https://example.com/") == 2


@settings(max_examples=200)
@given(st.text(st.sampled_from("<a href='\"=/> \nhttps:x&;#"), max_size=300))
def test_any_page_is_rewritten_without_a_fault(page: str) -> None:
    changed, urls = track(page, lambda n: f"https://t.example/{n}")
    if not urls and '"#"' not in changed:
        assert changed == page


@pytest.mark.parametrize(
    "unit", ["<a ", '<a href="', "<a href='", "<a x=", "<a /", "<a =", '<a a= "']
)
def test_rewriting_a_broken_page_takes_a_time_that_grows_with_its_length(unit: str) -> None:
    # Of quadratic work this would be 10^10 steps: it would not end.
    changed, _ = track(unit * (256 * 1024 // len(unit)), str)
    assert changed


@pytest.mark.parametrize(
    ("method", "fields", "age", "why"),
    [
        ("GET", {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}, 60, None),
        (
            "GET",
            {"user-agent": "Mozilla/5.0 (Windows NT 5.1) via ggpht.com GoogleImageProxy"},
            60,
            None,
        ),
        ("GET", {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}, 5, "too soon"),
        ("HEAD", {"user-agent": "Mozilla/5.0 (X11) Firefox/140.0"}, 60, "method"),
        ("GET", {"user-agent": "Mozilla/5.0"}, 60, "user agent"),
        ("GET", {}, 60, "user agent"),
        ("GET", {"user-agent": "Barracuda Sentinel"}, 60, "user agent"),
        ("GET", {"user-agent": "SomeBot/1.0"}, 60, "user agent"),
        ("GET", {"user-agent": "python-requests/2"}, 60, "user agent"),
        (
            "GET",
            {"user-agent": "Firefox (x) y", "sec-purpose": "prefetch;prerender"},
            60,
            "prefetch",
        ),
        ("GET", {"user-agent": "Firefox (x) y", "purpose": "Prefetch"}, 60, "prefetch"),
    ],
)
def test_machines_are_told_from_persons(
    method: str, fields: dict[str, str], age: int, why: str | None
) -> None:
    found = why_machine(
        method,
        fields,
        sent_at=NOW - timedelta(seconds=age),
        now=NOW,
        window=timedelta(seconds=10),
    )
    assert found == why


def test_nobody_reads_what_was_not_sent_yet() -> None:
    fields = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/120.0"}
    window = timedelta(seconds=10)
    assert why_machine("GET", fields, sent_at=None, now=NOW, window=window) == "too soon"


@pytest.mark.parametrize(
    "agent",
    [
        "Mozilla/5.0 (Linux; Android 9; CUBOT X19) AppleWebKit/537.36 Chrome/88.0 Mobile Safari/537.36",
        "Mozilla/5.0 (Linux; Android 11; CUBOT_NOTE_20) AppleWebKit/537.36 Chrome/92.0 Mobile",
    ],
)
def test_a_telephone_is_no_robot_by_its_name(agent: str) -> None:
    long_ago, window = NOW - timedelta(days=1), timedelta(seconds=10)
    fields = {"user-agent": agent}
    assert why_machine("GET", fields, sent_at=long_ago, now=NOW, window=window) is None


def test_the_examples_in_docstrings_are_true() -> None:
    names = [
        one.name
        for one in pkgutil.walk_packages(communication_service.__path__, "communication_service.")
        if not one.name.endswith("__main__")
    ]
    results = [doctest.testmod(importlib.import_module(name)) for name in names]
    assert sum(one.failed for one in results) == 0
    assert sum(one.attempted for one in results) >= 6


def test_ids_sort_by_time() -> None:
    from communication_service.domain.identity import new_id  # noqa: PLC0415 - this test's own

    made: list[UUID] = [new_id() for _ in range(3)]
    assert {one.version for one in made} == {7}
