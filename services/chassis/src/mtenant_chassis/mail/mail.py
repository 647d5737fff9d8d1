"""Mail: what is to be said, and to whom."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from email.headerregistry import BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8, Policy
from email.utils import format_datetime
from typing import Any, Final

# Not a grammar of addresses: what would break out of a header field or name two recipients is refused.
_ADDRESS: Final = re.compile(
    r"[^\s@,;:<>\"()\[\]\\\x00-\x1f\x7f-\x9f\ud800-\udfff]+"
    r"@[^\s@,;:<>\"()\[\]\\\x00-\x1f\x7f-\x9f\ud800-\udfff]+"
)
_LONGEST_ADDRESS: Final = 254  # RFC 5321, 4.5.3.1.3
_LONGEST_SUBJECT: Final = 500
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # what ends a line, too
_URL: Final = re.compile(r"https?://[!-;=?-~]{1,950}")  # between < and > (RFC 2369, 2), on one line
_NO_TEXT: Final = re.compile(r"[\x00\ud800-\udfff]")  # PostgreSQL has no place for them


class _Verbatim(UnstructuredHeader, BaseHeader):
    """A field that stands on one line as it is: Python would encode one that is longer than a line.

    An encoded word is for texts that people read (RFC 2047, 5); in a URL nobody decodes it.
    """

    def fold(self, *, policy: Policy[Any]) -> str:
        return f"{self.name}: {self}{policy.linesep}"


_FIELDS: Final = HeaderRegistry()
_FIELDS.map_to_type("list-unsubscribe", _Verbatim)
_ASCII: Final = SMTP.clone(header_factory=_FIELDS)
_UTF8: Final = SMTPUTF8.clone(header_factory=_FIELDS)


@dataclass(frozen=True)
class Mail:
    """A mail to one recipient. Its text may hold a token, so no repr shows it.

    Names that people chose get into subjects and texts: what cannot be in a mail is replaced, and is no
    reason to send none.

    Attributes:
        to: The address.
        subject: One line of at most 500 characters: what is longer is cut, line breaks become spaces.
        text: The text for those who read no HTML.
        html: The same as HTML, if there is one.
        unsubscribe: Where a POST ends mails of this kind (RFC 8058), of at most 950 characters. It holds a
            token.

    Raises:
        ValueError: The address is none, or the URL.
    """

    to: str
    subject: str
    text: str = field(repr=False)
    html: str | None = field(default=None, repr=False)
    unsubscribe: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if len(self.to) > _LONGEST_ADDRESS or not _ADDRESS.fullmatch(self.to):
            raise ValueError("the recipient is no single address of the form name@domain")
        if self.unsubscribe is not None and not _URL.fullmatch(self.unsubscribe):
            raise ValueError(
                "what unsubscribes is no URL of http or https, or one of more than 950 characters"
            )
        said = {"subject": _CONTROL.sub(" ", self.subject)[:_LONGEST_SUBJECT], "text": self.text}
        if self.html is not None:
            said["html"] = self.html
        for name, value in said.items():
            object.__setattr__(self, name, _NO_TEXT.sub("\ufffd", value))

    def message(self, *, sender: str, message_id: str, date: datetime) -> EmailMessage:
        """Return the message as it is sent (RFC 5322).

        Args:
            sender: The From address.
            message_id: Chosen before the first attempt: a mail that arrives twice is known by it.
            date: When it was wanted.
        """
        # Of an address that is not ASCII no part may be encoded (RFC 2047, 5): it is written as it is
        # (RFC 6532), and the server asked whether it takes that.
        message = EmailMessage(policy=_ASCII if self.to.isascii() else _UTF8)
        message["From"] = sender
        message["To"] = self.to
        message["Subject"] = self.subject
        message["Date"] = format_datetime(date)
        message["Message-ID"] = message_id
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834, 5: no vacation answers, please
        if self.unsubscribe is not None:
            message["List-Unsubscribe"] = f"<{self.unsubscribe}>"
            message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        message.set_content(self.text)
        if self.html is not None:
            message.add_alternative(self.html, subtype="html")
        return message
