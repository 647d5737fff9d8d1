"""Repository: the rows of one entity, by one handle or in one transaction."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, Generic, LiteralString, TypeVar, cast

from psycopg import sql
from psycopg.types.json import Jsonb

from mtenant_database.errors import RowNotFound, StaleVersion
from mtenant_database.query import (
    Condition,
    Expression,
    Ordering,
    Page,
    Select,
    Sender,
    Table,
    delete,
    insert,
    raw,
    select,
    update,
)
from mtenant_database.records.actor import current_actor
from mtenant_database.records.entity import TableSpec, describe
from mtenant_database.records.shape import shape_of

T = TypeVar("T")
R = TypeVar("R")

_NOT_CHANGED: Final = (
    "created_at", "created_by", "deleted_at", "deleted_by", "tenant_id", "updated_at", "version",
)  # fmt: skip
_DEFAULT: Final = raw(sql.SQL("DEFAULT"))
_NOW: Final = raw(sql.SQL("now()"))


class Repository(Generic[T]):
    """The rows of an entity. It is cheap: make one where it is needed.

    ```python
    class Contacts(Repository[Contact], entity=Contact):
        async def by_email(self, email: str) -> Contact | None:
            return await self.find(self.table["email"] == email)

    ada = await Contacts(acme).create(Contact(name="Ada", email="ada@example.com"))
    async with acme.transaction() as tx:
        await Contacts(tx).update(replace(ada, name="Ada Lovelace"))
    ```

    A row that is deleted is not found by anything but `restore` and `purge`, where the entity has
    `deleted_at`.

    Args:
        sender: A tenant's handle, and each call is a transaction of its own; or a transaction.
    """

    entity: ClassVar[type[Any]]
    spec: ClassVar[TableSpec]
    table: ClassVar[Table]
    _alive: ClassVar[Select]
    _get: ClassVar[LiteralString]
    _shape: ClassVar[Any]

    def __init_subclass__(cls, *, entity: type[Any] | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if entity is not None:
            cls.entity, cls.spec = entity, describe(entity)
            cls.table = cls.spec.table
            cls._shape = shape_of(entity, cls.spec)
            alive = cls.table["deleted_at"].is_null() if cls.spec.soft else None
            columns = (cls.table[name] for name in cls.spec.names)
            cls._alive = select(*columns, from_=cls.table).where(alive)
            # The statement that is sent most is rendered once.
            one = cls._alive.where(cls.table[cls.spec.key] == 0).build()
            cls._get = one.query.as_string()

    def __init__(self, sender: Sender) -> None:
        if not hasattr(self, "entity"):
            raise TypeError(
                f"{type(self).__name__} has no entity: class Contacts(Repository[Contact], entity=Contact)"
            )
        self.sender = sender

    def select(self) -> Select:
        """Begin a query of the rows that are not deleted, for one that is not here."""
        return self._alive

    async def get(self, id: Any) -> T:
        """Return a row.

        Raises:
            RowNotFound: There is none, or it is deleted.
        """
        return cast("T", await self.sender.fetch_one(self._get, [id], row=self._shape))

    async def get_many(self, ids: Iterable[Any]) -> dict[Any, T]:
        """Return rows by id, those that there are; one query for all."""
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return {}
        rows = await self._all(self.select().where(self._key.in_(wanted)))
        return {getattr(row, self.spec.key): row for row in rows}

    async def find(self, *conditions: Condition | None) -> T | None:
        """Return the row for which the conditions hold, or None.

        Raises:
            MultipleRows: There are several.
        """
        found = (
            await self.select()
            .where(*conditions)
            .limit(2)
            .fetch_optional(self.sender, row=self._shape)
        )
        return cast("T | None", found)

    async def list(
        self,
        *conditions: Condition | None,
        order: Sequence[Expression | Ordering] = (),
        size: int = 50,
        after: tuple[Any, ...] | None = None,
    ) -> Page[T]:
        """Return a page of rows.

        Args:
            *conditions: What holds for them; None is left out.
            order: Keys; the id comes last by itself, so that no two rows are equal.
            size: At most how many.
            after: `Page.next` of the page before.
        """
        query = self.select().where(*conditions).order_by(*order, self._key)
        page = await query.fetch_page(self.sender, size=size, after=after, row=self._shape)
        return cast("Page[T]", page)

    async def count(self, *conditions: Condition | None) -> int:
        """Return how many rows there are."""
        return await self.select().where(*conditions).count(self.sender)

    async def exists(self, *conditions: Condition | None) -> bool:
        """Tell whether there is a row for which the conditions hold."""
        one = self._alive.where(*conditions).limit(1)
        return await one.fetch_optional(self.sender) is not None

    async def create(self, row: T) -> T:
        """Insert a row, and return it as it is stored.

        Raises:
            ConstraintConflict: A unique column or index has such a row already.
        """
        return (await self.create_many([row]))[0]

    async def create_many(self, rows: Iterable[T]) -> builtins.list[T]:
        """Insert rows in one statement, all or none, and return them as they are stored, in order."""
        values = [self._values(row) for row in rows]
        if not values:
            return []
        # What no row says is left to the server; what some do not say is its default for these.
        left = {
            column.name
            for column in self.spec.columns
            if column.col.default is not None
            and not column.nullable
            and all(one[column.name] is None for one in values)
        }
        for one in values:
            for column in self.spec.columns:
                if column.name in left:
                    del one[column.name]
                elif one[column.name] is None and column.col.default is not None:
                    one[column.name] = None if column.nullable else _DEFAULT
        stored = insert(self.table, values).returning(*self._columns)
        found = await stored.fetch_all(self.sender, row=self._shape)
        by_id = {getattr(row, self.spec.key): row for row in found}
        return [cast("T", by_id[one[self.spec.key]]) for one in values]

    async def update(self, row: T) -> T:
        """Overwrite a row with all fields, and return it as it is stored.

        A `Versioned` one is overwritten only if it has the version that `row` has, which is then raised.

        Raises:
            RowNotFound: There is none, or it is deleted.
            StaleVersion: Somebody changed it since it was read.
            ConstraintConflict: A unique column or index has such a row already.
        """
        key = getattr(row, self.spec.key)
        values: dict[str, object] = self._values(row)
        for name in (self.spec.key, *_NOT_CHANGED):
            values.pop(name, None)
        return await self._change(key, values, getattr(row, "version", None))

    async def delete(self, id: Any, *, version: int | None = None) -> None:
        """Delete a row; where the entity has `deleted_at` it stays, and `restore` brings it back.

        Args:
            id: Which.
            version: The version that it must have; None: any.

        Raises:
            RowNotFound: There is none.
            StaleVersion: It has another version.
        """
        if not self.spec.soft:
            await self._purge(id, version)
            return
        values: dict[str, object] = {"deleted_at": _NOW}
        if "deleted_by" in self.spec.names:
            values["deleted_by"] = current_actor()
        await self._change(id, values, version)

    async def restore(self, id: Any) -> T:
        """Bring a deleted row back.

        Raises:
            RowNotFound: There is none that is deleted.
            ConstraintConflict: Another row has taken its unique values meanwhile.
        """
        values: dict[str, object] = {"deleted_at": None}
        if "deleted_by" in self.spec.names:
            values["deleted_by"] = None
        gone = self.table["deleted_at"].is_not_null()
        restored = update(self.table, self._marked(values)).where(self._key == id, gone)
        found = await restored.returning(*self._columns).fetch_one(self.sender, row=self._shape)
        return cast("T", found)

    async def purge(self, id: Any) -> None:
        """Delete a row for good, whether it is deleted or not.

        Raises:
            RowNotFound: There is none.
            StillReferenced: Other rows point to it.
        """
        await self._purge(id, None)

    async def load_related(
        self, rows: Iterable[T], field: str, others: Repository[R]
    ) -> dict[Any, R]:
        """Return what a field of rows points to, by id; one query for all rows.

        ```python
        companies = await contacts.load_related(page.items, "company_id", Companies(acme))
        ```
        """
        ids = (getattr(row, field) for row in rows)
        return await others.get_many(id for id in ids if id is not None)

    @property
    def _key(self) -> Expression:
        return self.table[self.spec.key]

    @property
    def _columns(self) -> tuple[Expression, ...]:
        return tuple(self.table[name] for name in self.spec.names)

    async def _all(self, query: Select) -> builtins.list[T]:
        return cast("builtins.list[T]", await query.fetch_all(self.sender, row=self._shape))

    async def _change(self, id: Any, values: Mapping[str, object], version: int | None) -> T:
        alive = self.table["deleted_at"].is_null() if self.spec.soft else None
        seen = None if version is None else self.table["version"] == version
        change = update(self.table, self._marked(values)).where(self._key == id, alive, seen)
        found = await change.returning(*self._columns).fetch_optional(self.sender, row=self._shape)
        if found is None:
            await self._explain(id)
        return cast("T", found)

    async def _purge(self, id: Any, version: int | None) -> None:
        seen = None if version is None else self.table["version"] == version
        gone = await delete(self.table).where(self._key == id, seen).execute(self.sender)
        if not gone.rows_affected:
            await self._explain(id)

    async def _explain(self, id: Any) -> None:
        # Only where nothing was changed: the usual way is one round trip.
        if await self.exists(self._key == id):
            raise StaleVersion
        raise RowNotFound

    def _values(self, row: T) -> dict[str, object]:
        actor, values = current_actor(), dict[str, object]()
        for column in self.spec.columns:
            one = getattr(row, column.name)
            if column.name in {"created_by", "updated_by"} and actor is not None:
                one = actor
            elif column.enum is not None and one is not None:
                one = one.value
            elif column.type_name == "jsonb" and one is not None:
                one = Jsonb(one)
            values[column.name] = one
        return values

    def _marked(self, values: Mapping[str, object]) -> dict[str, object]:
        marked = dict(values)
        if "updated_at" in self.spec.names:
            marked["updated_at"] = _NOW
        if "updated_by" in self.spec.names and (actor := current_actor()) is not None:
            marked["updated_by"] = actor
        if "version" in self.spec.names:
            marked["version"] = self.table["version"] + 1
        return marked
