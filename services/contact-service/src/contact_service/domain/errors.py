"""What this service refuses, and why."""

from __future__ import annotations

from mtenant_errors import (
    Conflict,
    NotFound,
    PayloadTooLarge,
    Unprocessable,
    UnsupportedMediaType,
)


class ContactNotFound(NotFound):
    """There is none, or it was deleted."""

    code, message = "CONTACT_NOT_FOUND", "there is no such contact"


class ContactDuplicate(Conflict):
    """There is one already; `errors` names the candidates."""

    code, message = "CONTACT_DUPLICATE", "this may be a contact that there is already"


class ContactNameless(Unprocessable):
    """A contact has a name or an address."""

    code, message = "CONTACT_NAMELESS", "a contact has a first name, a last name or an email"


class ContactNotDeleted(Conflict):
    """There is nothing to restore, or to purge."""

    code, message = "CONTACT_NOT_DELETED", "the contact is not deleted"


class ContactMerged(Conflict):
    """It is part of another contact now, which has what it had."""

    code, message = "CONTACT_MERGED", "the contact was merged into another one"


class MergeInvalid(Unprocessable):
    """What should be merged cannot be."""

    code, message = "MERGE_INVALID", "a contact is merged with others that are there, each once"


class CompanyNotFound(NotFound):
    """There is none, or it was deleted."""

    code, message = "COMPANY_NOT_FOUND", "there is no such company"


class CompanyUnknown(Unprocessable):
    """The company that something belongs to is not there."""

    code, message = "COMPANY_UNKNOWN", "there is no such company"


class CompanyInUse(Conflict):
    """Contacts or companies belong to it."""

    code, message = "COMPANY_IN_USE", "contacts or companies belong to it: move them first"


class CompanyNotDeleted(Conflict):
    """There is nothing to restore."""

    code, message = "COMPANY_NOT_DELETED", "the company is not deleted"


class HierarchyCycle(Unprocessable):
    """A company would be part of itself."""

    code, message = "HIERARCHY_CYCLE", "a company cannot be part of itself"


class HierarchyTooDeep(Unprocessable):
    """There are too many companies above it."""

    code, message = "HIERARCHY_TOO_DEEP", "at most {most} companies stand above one another"


class OwnerUnknown(Unprocessable):
    """The user who should own something is not there, or is disabled."""

    code, message = "OWNER_UNKNOWN", "there is no such active user"


class ImportNotFound(NotFound):
    """There is none."""

    code, message = "IMPORT_NOT_FOUND", "there is no such import"


class ImportUnreadable(Unprocessable):
    """The file cannot be read to its end."""

    code, message = "IMPORT_UNREADABLE", "the file cannot be read: {why}"


class ImportTooLarge(PayloadTooLarge):
    """The file has more than is taken at once."""

    code, message = "IMPORT_TOO_LARGE", "the file has more than {most}: import it in parts"


class ImportFormatUnknown(UnsupportedMediaType):
    """The file is neither CSV nor XLSX."""

    code, message = "IMPORT_FORMAT_UNKNOWN", "the file is neither CSV nor XLSX"


class ImportColumnsUnknown(Unprocessable):
    """The first row does not say what stands where."""

    code, message = (
        "IMPORT_COLUMNS_UNKNOWN",
        "the first row names the columns, each once, with first_name, last_name or email among them",
    )
