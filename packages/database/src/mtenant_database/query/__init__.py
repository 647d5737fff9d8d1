"""A builder of SQL: names are quoted, values are parameters, and nothing a caller passes becomes SQL.

>>> from mtenant_database.query import select, table
>>> contacts = table("contacts")
>>> query = (
...     select(contacts["id"], contacts["name"], from_=contacts)
...     .where(contacts["name"].contains("o'hara"), contacts["status"] == "active")
...     .order_by(contacts["id"])
...     .limit(10)
... )
>>> query.build().params
["%o'hara%", 'active', 10]

`await query.fetch_all(acme, row=Contact)` sends it; so does `await acme.fetch_all(*query.build(), row=Contact)`.
"""

from mtenant_database.query.change import Delete, Insert, Update, delete, insert, update
from mtenant_database.query.expression import (
    Column,
    Condition,
    Expression,
    Labelled,
    Ordering,
    given,
)
from mtenant_database.query.fragment import Fragment, exists, raw, value
from mtenant_database.query.functions import (
    average,
    coalesce,
    count,
    function,
    greatest,
    least,
    lower,
    total,
)
from mtenant_database.query.page import Page
from mtenant_database.query.render import Built
from mtenant_database.query.select import Select, select
from mtenant_database.query.statement import Sender
from mtenant_database.query.table import Table, table

__all__ = [
    "Built",
    "Column",
    "Condition",
    "Delete",
    "Expression",
    "Fragment",
    "Insert",
    "Labelled",
    "Ordering",
    "Page",
    "Select",
    "Sender",
    "Table",
    "Update",
    "average",
    "coalesce",
    "count",
    "delete",
    "exists",
    "function",
    "given",
    "greatest",
    "insert",
    "least",
    "lower",
    "raw",
    "select",
    "table",
    "total",
    "update",
    "value",
]
