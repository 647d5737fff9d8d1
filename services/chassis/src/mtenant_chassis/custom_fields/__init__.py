"""Custom fields: what a tenant adds to the things of a service, typed, checked, filtered by.

A service says what has them, and where; its table of fields is made by a migration of its own.

>>> from mtenant_chassis.custom_fields import FieldTable, Holders, custom_fields_router
>>> async def is_in_use(on: object, entity: str, key: str) -> bool:
...     return False
>>> notes = Holders(
...     entities=("note",), names="notes", table=FieldTable("note_fields"), is_in_use=is_in_use
... )
>>> [route.path for route in custom_fields_router("/api/notes/custom-fields", notes).routes][0]
'/api/notes/custom-fields'
"""

from mtenant_chassis.custom_fields.errors import (
    ChoicesInvalid,
    CustomFieldInUse,
    CustomFieldLimit,
    CustomFieldNotFound,
    CustomFieldTaken,
    CustomValuesInvalid,
    FilterInvalid,
)
from mtenant_chassis.custom_fields.field import CustomField, FieldType
from mtenant_chassis.custom_fields.fields import CustomFields
from mtenant_chassis.custom_fields.filter import CustomFilters, custom_filters
from mtenant_chassis.custom_fields.holders import Holders
from mtenant_chassis.custom_fields.router import custom_fields_router
from mtenant_chassis.custom_fields.table import FieldTable
from mtenant_chassis.custom_fields.values import Values, check_values, stated

__all__ = [
    "ChoicesInvalid",
    "CustomField",
    "CustomFieldInUse",
    "CustomFieldLimit",
    "CustomFieldNotFound",
    "CustomFieldTaken",
    "CustomFields",
    "CustomFilters",
    "CustomValuesInvalid",
    "FieldTable",
    "FieldType",
    "FilterInvalid",
    "Holders",
    "Values",
    "check_values",
    "custom_fields_router",
    "custom_filters",
    "stated",
]
