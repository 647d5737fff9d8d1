"""What is refused of custom fields, and why."""

from __future__ import annotations

from mtenant_errors import BadRequest, Conflict, NotFound, Unprocessable


class CustomFieldNotFound(NotFound):
    """There is none."""

    code, message = "CUSTOM_FIELD_NOT_FOUND", "there is no such custom field"


class CustomFieldTaken(Conflict):
    """The key is another field's."""

    code, message = "CUSTOM_FIELD_TAKEN", "there is a field with this key"


class CustomFieldInUse(Conflict):
    """Something has a value that would mean nothing any more."""

    code, message = "CUSTOM_FIELD_IN_USE", "{holders} have values of it: clear them first"


class CustomFieldLimit(Conflict):
    """A tenant has a bounded number of them."""

    code, message = "CUSTOM_FIELD_LIMIT", "there are {most} custom fields already"


class ChoicesInvalid(Unprocessable):
    """Choices belong to fields of the type choice, and to no others."""

    code, message = "CHOICES_INVALID", "a choice has choices, each once, and nothing else has"


class CustomValuesInvalid(Unprocessable):
    """Values do not fit the fields that the tenant has; `errors` says which."""

    code, message = "CUSTOM_VALUES_INVALID", "values do not fit the custom fields"


class FilterInvalid(BadRequest):
    """A filter names a field that is not there, or a value that it cannot have."""

    code, message = "FILTER_INVALID", "the filter {name} is of no custom field, or no value of it"
