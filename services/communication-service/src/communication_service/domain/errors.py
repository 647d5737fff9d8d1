"""What this service refuses, and why."""

from __future__ import annotations

from mtenant_errors import Conflict, NotFound, Unprocessable


class ActivityNotFound(NotFound):
    """There is none."""

    code, message = "ACTIVITY_NOT_FOUND", "there is no such activity"


class TaskNotFound(NotFound):
    """There is none."""

    code, message = "TASK_NOT_FOUND", "there is no such task"


class TemplateNotFound(NotFound):
    """There is none, or no such version."""

    code, message = "TEMPLATE_NOT_FOUND", "there is no such template"


class VersionUnknown(Unprocessable):
    """The template is there, and has no such version."""

    code, message = "VERSION_UNKNOWN", "the template has no such version"


class EmailNotFound(NotFound):
    """There is none."""

    code, message = "EMAIL_NOT_FOUND", "there is no such mail"


class LinkNotFound(NotFound):
    """The token is forged, too old, or of something that is not there: which, nobody is told."""

    code, message = "LINK_NOT_FOUND", "this link leads nowhere"


class RelatedNotFound(Unprocessable):
    """The service that would have it says that there is no such contact, company, deal or user."""

    code, message = "RELATED_NOT_FOUND", "there is no such {entity}"


class AddressMissing(Unprocessable):
    """The contact has no address to write to."""

    code, message = "ADDRESS_MISSING", "the contact has no e-mail address"


class RecipientUnsubscribed(Unprocessable):
    """Whoever reads that address wants no more mail."""

    code, message = "RECIPIENT_UNSUBSCRIBED", "the recipient wants no more mail"


class TemplateInvalid(Unprocessable):
    """The template could do more than a template may, or cannot be read."""

    code, message = "TEMPLATE_INVALID", "{part}, line {line}: {why}"


class TemplateTaken(Conflict):
    """Another template has the key."""

    code, message = "TEMPLATE_KEY_TAKEN", "another template has this key"


class ValuesInvalid(Unprocessable):
    """The values are not those that the template declares."""

    code, message = "VALUES_INVALID", "{why}"


class RenderingFailed(Unprocessable):
    """The template, with these values, is no mail."""

    code, message = "RENDERING_FAILED", "{part}: {why}"


class TaskClosed(Conflict):
    """It is done, so that nobody need be reminded."""

    code, message = "TASK_CLOSED", "this task is done: reopen it first"
