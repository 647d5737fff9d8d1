"""Split SQL text into statements, by the lexical rules of PostgreSQL (manual, chapter 4.1).

This is a scanner, not a parser: it knows where a string, a quoted name, a dollar-quoted body or a
comment ends, and so which semicolon ends a statement. `standard_conforming_strings` is taken to be
on, as it is by default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

_SPACE: Final = re.compile(r"[ \t\n\r\f\v]+")
_LINE_COMMENT: Final = re.compile(r"--[^\n\r]*")
_WORD: Final = re.compile(r"[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*")
_NUMBER: Final = re.compile(r"\$?[0-9][A-Za-z0-9_.\x80-\U0010ffff]*")
_DOLLAR: Final = re.compile(r"\$(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?\$")
_QUOTED: Final = re.compile(r"'[^']*'")
# Possessive (*+): a doubled quote is never taken for the end after all.
_ESCAPED: Final = re.compile(r"'(?:[^'\\]+|\\.|'')*+'", re.DOTALL)
_NAME: Final = re.compile(r'"(?:[^"]+|"")*+"')
# A string goes on after white space with a line break in it, and so do its rules of escaping.
_CONTINUED: Final = re.compile(
    r"(?:[ \t\f\v]|--[^\n\r]*)*[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*[\n\r])*(?=')"
)
_COMMENT_MARK: Final = re.compile(r"/\*|\*/")


class Unterminated(ValueError):
    """A quote or a comment is never closed; `offset` is where it begins."""

    def __init__(self, what: str, offset: int) -> None:
        super().__init__(f"{what} is never closed")
        self.offset = offset


@dataclass(frozen=True)
class Word:
    """A key word or an unquoted name in upper case, or a quoted name as it is written.

    Attributes:
        text: `CREATE`, `CONTACTS`, or `"Contacts"` with its quotes.
        start: Where it begins, counted from the beginning of its statement.
        end: Where it ends.
        glued: Whether a dot stands directly before it, so that it is no key word.
    """

    text: str
    start: int
    end: int
    glued: bool = False

    @property
    def name(self) -> str:
        """The identifier that the server takes it for."""
        if self.text.startswith('"'):
            return self.text[1:-1].replace('""', '"')
        return self.text.lower()


@dataclass(frozen=True)
class Statement:
    """A piece of SQL text up to its semicolon, with the white space and comments before it.

    Attributes:
        text: The piece as it is written; all pieces joined are the whole text.
        offset: Where it begins in the whole text.
        start: Where its first token begins, counted from its own beginning.
        words: Its words at every depth, outside of strings and comments.
        blank: Whether it says nothing: white space, comments, semicolons.
        backslash: Where its first backslash outside of strings is, which SQL has none of; or None.
    """

    text: str
    offset: int
    start: int
    words: tuple[Word, ...]
    blank: bool = False
    backslash: int | None = None

    def begins(self, *words: str) -> bool:
        """Tell whether these are its first words."""
        return tuple(word.text for word in self.words[: len(words)]) == words


def split(text: str) -> list[Statement]:
    r"""Return the pieces of the text; those that say nothing (a lone comment) are joined to others.

    Raises:
        Unterminated: A quote or a comment is never closed.

    >>> [piece.text for piece in split("select ';'; -- done;\nselect 2")]
    ["select ';';", ' -- done;\nselect 2']
    """
    return _Scanner(text).run()


def leading(text: str) -> int:
    """Return where the first token begins, behind white space and comments.

    Raises:
        Unterminated: A comment is never closed.
    """
    scanner, at = _Scanner(text), 0
    while (skipped := scanner.blank(at)) != at:
        at = skipped
    return at


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.pieces: list[Statement] = []
        self._begin(0)

    def _begin(self, at: int) -> None:
        self.offset = at
        self.first: int | None = None
        self.words: list[Word] = []
        self.backslash: int | None = None
        self.depth = 0
        self.atomic = 0

    def run(self) -> list[Statement]:
        text, at = self.text, 0
        while at < len(text):
            if (skipped := self.blank(at)) != at:
                at = skipped
                continue
            if text[at] == ";":
                at += 1
                if self.depth <= 0 and self.atomic == 0:
                    self._end(at)
                continue
            if self.first is None:
                self.first = at
            at = self._token(at)
        self._finish()
        return self.pieces

    def _end(self, at: int) -> None:
        if self.first is None and self.pieces:  # an empty statement: a semicolon too many
            self._append(at)
        else:
            blank = self.first is None
            start = (at if self.first is None else self.first) - self.offset
            text = self.text[self.offset : at]
            words = tuple(self.words)
            self.pieces.append(Statement(text, self.offset, start, words, blank, self.backslash))
        self._begin(at)

    def _finish(self) -> None:
        if self.offset == len(self.text):
            return
        if self.first is None and self.pieces:
            self._append(len(self.text))
        else:
            self._end(len(self.text))

    def _append(self, at: int) -> None:
        last = self.pieces[-1]
        text = last.text + self.text[self.offset : at]
        self.pieces[-1] = replace(last, text=text)

    def blank(self, at: int) -> int:
        """Return where white space and comments that begin here end."""
        text = self.text
        if space := _SPACE.match(text, at):
            return space.end()
        if comment := _LINE_COMMENT.match(text, at):
            return comment.end()
        if not text.startswith("/*", at):
            return at
        depth, end = 0, at
        while True:
            mark = _COMMENT_MARK.search(text, end)
            if mark is None:
                raise Unterminated("a comment /*", at)
            depth += 1 if mark.group() == "/*" else -1
            end = mark.end()
            if depth == 0:
                return end

    def _token(self, at: int) -> int:
        text, char = self.text, self.text[at]
        if word := _WORD.match(text, at):
            if word.group() in ("e", "E") and text.startswith("'", word.end()):
                return self._escaped(word.end())
            self._word(word.group().upper(), at, word.end())
            return word.end()
        if char == "'":
            return self._closed(_QUOTED, "a string '", at)
        if char == '"':
            end = self._closed(_NAME, 'a quoted name "', at)
            self._word(text[at:end], at, end)
            return end
        if number := _NUMBER.match(text, at):
            return number.end()
        if tag := _DOLLAR.match(text, at):
            end = text.find(tag.group(), tag.end())
            if end < 0:
                raise Unterminated(f"a string {tag.group()}", at)
            return end + len(tag.group())
        if char == "\\" and self.backslash is None:
            self.backslash = at - self.offset
        self.depth += {"(": 1, ")": -1}.get(char, 0)
        return at + 1

    def _closed(self, pattern: re.Pattern[str], what: str, at: int) -> int:
        found = pattern.match(self.text, at)
        if found is None:
            raise Unterminated(what, at)
        return found.end()

    def _escaped(self, at: int) -> int:
        while True:
            at = self._closed(_ESCAPED, "a string E'", at)
            more = _CONTINUED.match(self.text, at)
            if more is None:
                return at
            at = more.end()

    def _word(self, word: str, start: int, end: int) -> None:
        glued = start > 0 and self.text[start - 1] == "."
        self.words.append(Word(word, start - self.offset, end - self.offset, glued))
        if glued:
            return
        # The body of an SQL function may stand there as it is: BEGIN ATOMIC ...; ...; END.
        if word == "ATOMIC" and len(self.words) > 1 and self.words[-2].text == "BEGIN":
            self.atomic += 1 if self._makes_a_routine() else 0
        elif self.atomic:
            self.atomic += {"CASE": 1, "END": -1}.get(word, 0)

    def _makes_a_routine(self) -> bool:
        said = [word.text for word in self.words[:4]]
        if said[1:3] == ["OR", "REPLACE"]:
            del said[1:3]
        return said[:1] == ["CREATE"] and said[1:2] in (["FUNCTION"], ["PROCEDURE"])
