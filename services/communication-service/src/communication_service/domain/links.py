"""Links of a mail: found, and led by way of the tracker.

Not a parser of HTML: one pass that finds the start tags of `a` and `area`, and their `href`. What it does not
understand stays as it is. It never goes back, so its work is bounded by the length of the text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import quote, urlsplit

MOST_LINKS: Final = 200
"""Links of a mail that are tracked; those after them lead where they say at once."""

_LONGEST_URL: Final = 2048
_START: Final = re.compile(r"<(?:a|area)(?=[\s/>])", re.IGNORECASE)
# Possessive, so that no failure is tried in another way (HTML, 13.1.2.3).
_ATTRIBUTE: Final = re.compile(
    r"""[\s/]*+([^\s/>=][^\s/>=]*+)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s>"'][^\s>]*+)))?""",
)
_HARMLESS: Final = frozenset({"mailto", "tel", "sms", ""})
_CONTROL: Final = re.compile(r"[\x00-\x20\x7f]")


def target(href: str) -> str | None:
    """Return the URL of http or https that a link leads to, in ASCII; None if it leads to none.

    >>> target("https://example.com/a?b=1"), target("javascript:alert(1)")
    ('https://example.com/a?b=1', None)
    """
    url = _CONTROL.sub("", href)  # as a browser reads it (URL standard, 4.4)
    try:
        parts = urlsplit(url)
        if parts.scheme.lower() not in {"http", "https"} or not parts.hostname:
            return None
    except ValueError:
        return None
    if "\\" in url or not url.partition(":")[2].startswith("//"):
        return None  # browsers and this program might not agree about the host
    safe = quote(url, safe="%/:?#[]@!$&'()*+,;=~-._", errors="replace")
    return safe if len(safe) <= _LONGEST_URL else None


def track(text: str, through: Callable[[int], str]) -> tuple[str, list[str]]:
    """Return the text with its links led by way of the tracker, and where they lead.

    A link that leads neither to a page nor to an address of mail or telephone, such as `javascript:`,
    leads nowhere afterwards.

    Args:
        text: The HTML.
        through: Returns the tracker's URL of the link of a number, from 0.
    """
    done: list[str] = []
    targets: list[str] = []
    at = 0
    for begin, end, href in _hrefs(text):
        url = target(href)
        if url is None:
            replaced = text[begin:end] if _is_harmless(href) else '"#"'
        elif url in targets or len(targets) < MOST_LINKS:
            if url not in targets:
                targets.append(url)
            replaced = f'"{html.escape(through(targets.index(url)))}"'
        else:
            replaced = text[begin:end]
        done += [text[at:begin], replaced]
        at = end
    return "".join([*done, text[at:]]), targets


def _is_harmless(href: str) -> bool:
    scheme, colon, _ = _CONTROL.sub("", href).partition(":")
    if not colon or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        return True  # a part of this page, or a path: there is nothing that it could be relative to
    return scheme.lower() in _HARMLESS


def _hrefs(text: str) -> list[tuple[int, int, str]]:
    """Return where the values of `href` stand, and what they say."""
    found: list[tuple[int, int, str]] = []
    at = 0
    while (start := _START.search(text, at)) is not None:
        at = start.end()
        seen = False
        while (one := _ATTRIBUTE.match(text, at)) is not None:
            at = one.end()
            if one[1].lower() == "href" and not seen and one.lastindex is not None:
                seen = True  # the first one counts (HTML, 13.2.5.33)
                if one.lastindex > 1:
                    begin, end = one.span(one.lastindex)
                    quoted = one.lastindex < 4
                    found.append((begin - quoted, end + quoted, html.unescape(one[one.lastindex])))
    return found
