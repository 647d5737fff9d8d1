"""Mail that leaves if, and only if, the transaction that wanted it was committed.

>>> from mtenant_chassis.mail import Mail
>>> Mail(to="ada@example.com", subject="Welcome", text="Hello Ada")
Mail(to='ada@example.com', subject='Welcome')
"""

from mtenant_chassis.mail.mail import Mail
from mtenant_chassis.mail.mailer import Mailer
from mtenant_chassis.mail.transport import (
    DirectoryTransport,
    MemoryTransport,
    SmtpTransport,
    Transport,
)
from mtenant_chassis.mail.worker import MailOutcome, MailWorker

__all__ = [
    "DirectoryTransport",
    "Mail",
    "MailOutcome",
    "MailWorker",
    "Mailer",
    "MemoryTransport",
    "SmtpTransport",
    "Transport",
]
