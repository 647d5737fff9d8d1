"""Many contacts at a time: those that are there are recognised, the others are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import UUID

from contact_service.domain import event
from contact_service.domain.columns import RowError
from contact_service.domain.contact import Contact, ContactFields, difference
from contact_service.domain.errors import ContactNameless
from contact_service.domain.identity import new_id
from contact_service.domain.imports import OnDuplicate
from contact_service.handlers.lookup import Lookup
from contact_service.handlers.owners import Owners
from contact_service.queries import companies, custom_fields
from contact_service.queries import contacts as rows
from mtenant_chassis import AuditTrail, Chassis
from mtenant_chassis.audit import Done
from mtenant_chassis.custom_fields import CustomField, CustomValuesInvalid, check_values, stated
from mtenant_database import Transaction

_ROUNDS: Final = 3

Status = Literal["created", "updated", "skipped", "invalid"]


@dataclass(frozen=True)
class Item:
    """A contact as somebody wants it.

    Attributes:
        line: Its place among the others.
        id: Of the contact that it is, if that is there.
        given: The fields that are said; the others of a contact that is there stay.
        fields: All of them.
    """

    line: int
    id: UUID | None
    given: frozenset[str]
    fields: ContactFields


@dataclass(frozen=True)
class Outcome:
    """What became of an item.

    Attributes:
        status: In a word.
        contact_id: The contact; None for what was refused, or of a dry run.
        errors: Why it was refused.
    """

    status: Status
    contact_id: UUID | None = None
    errors: Sequence[RowError] = ()


@dataclass
class _Slot:
    """A contact that is there, or will be."""

    id: UUID
    values: dict[str, Any]
    stored: Contact | None = None
    lines: list[int] = field(default_factory=list)


class _Book:
    """The contacts that the items may be, by id and by address."""

    def __init__(self, known: Sequence[Contact]) -> None:
        self.slots = {one.id: _Slot(one.id, one.values(), one) for one in known}
        self._by_email = {one.email: self.slots[one.id] for one in known if one.email is not None}

    def find(self, item: Item) -> _Slot | None:
        """Return the contact that an item is."""
        by_id = None if item.id is None else self.slots.get(item.id)
        return by_id or self.of(item.fields.email)

    def of(self, email: str | None) -> _Slot | None:
        """Return the contact that has an address."""
        return None if email is None else self._by_email.get(email)

    def add(self, item: Item) -> _Slot:
        """Make a contact of an item that has a name."""
        values = item.fields.values()
        values["custom"] = stated(values["custom"])
        slot = _Slot(new_id(), values, lines=[item.line])
        self.slots[slot.id] = slot
        if item.fields.email is not None:
            self._by_email[item.fields.email] = slot
        return slot

    def change(self, slot: _Slot, item: Item) -> bool:
        """Give a contact what an item says; tell whether that is anything new.

        Raises:
            ContactNameless: Nobody could tell any more who it is.
        """
        said = {name: value for name, value in item.fields.values().items() if name in item.given}
        if "custom" in said:
            said["custom"] = stated({**slot.values["custom"], **said["custom"]})
        after = {**slot.values, **said}
        if after == slot.values:
            return False
        # What has to have a name is the contact that comes out, and not what is said of it.
        ContactFields.model_construct(**after).check()
        if after["email"] != slot.values["email"]:
            self._by_email.pop(slot.values["email"], None)
            if after["email"] is not None:
                self._by_email[after["email"]] = slot
        slot.values = after
        slot.lines.append(item.line)
        return True


@dataclass(frozen=True)
class Upsert:
    """Puts items into one tenant's contacts, with events and audit entries.

    Attributes:
        chassis: Of the running app.
        audit: Who does it.
        owners: Knows who may own a contact.
        fields: The tenant's own fields of contacts, when the items were read.
        on_duplicate: What becomes of an item whose contact is there.
        dry_run: Whether nothing is written.
    """

    chassis: Chassis
    audit: AuditTrail
    owners: Owners
    fields: Sequence[CustomField]
    on_duplicate: OnDuplicate
    dry_run: bool = False

    async def apply(
        self, tx: Transaction, items: Sequence[Item], *, earlier: frozenset[str] = frozenset()
    ) -> dict[int, Outcome]:
        """Return what became of each item, by its line.

        Args:
            tx: An open transaction of the tenant.
            items: In the order in which they are taken.
            earlier: Addresses of items that a dry run has seen before.
        """
        done = await self._check(tx, items)
        left = [one for one in items if one.line not in done]
        for _ in range(_ROUNDS):
            left = await self._round(tx, left, earlier, done)
            if not left:
                return done
        for one in left:
            told = RowError(one.line, "email", "busy", "somebody else writes this contact")
            done[one.line] = Outcome("invalid", errors=[told])
        return done

    async def _round(
        self,
        tx: Transaction,
        items: Sequence[Item],
        earlier: frozenset[str],
        done: dict[int, Outcome],
    ) -> list[Item]:
        """Write the items; return those whose address somebody else took meanwhile."""
        ids = [one.id for one in items if one.id is not None]
        emails = [one.fields.email for one in items if one.fields.email is not None]
        book = _Book(await rows.known(tx, ids, emails, lock=not self.dry_run))
        for item in items:
            try:
                done[item.line] = self._place(book, item, earlier)
            except ContactNameless as exc:
                done[item.line] = Outcome("invalid", errors=[_nameless(item, exc)])
        if self.dry_run:
            return []
        lost = await self._write(tx, book)
        for line in lost:
            del done[line]
        return [item for item in items if item.line in lost]

    def _place(self, book: _Book, item: Item, earlier: frozenset[str]) -> Outcome:
        slot = book.find(item)
        if slot is None and item.fields.email not in earlier:
            item.fields.check()
            return Outcome("created", None if self.dry_run else book.add(item).id)
        if self.on_duplicate == "error":
            told = RowError(item.line, "email", "duplicate", "there is such a contact already")
            return Outcome("invalid", errors=[told])
        if self.on_duplicate == "skip" or slot is None:
            status: Status = "skipped" if self.on_duplicate == "skip" else "updated"
            return Outcome(status, slot.id if slot else None)
        other = book.of(item.fields.email)
        if other is not None and other is not slot:
            told = RowError(item.line, "email", "email_taken", "is the address of another contact")
            return Outcome("invalid", errors=[told])
        return Outcome("updated" if book.change(slot, item) else "skipped", slot.id)

    async def _write(self, tx: Transaction, book: _Book) -> set[int]:
        """Write what is new and what is otherwise; return the lines of what could not be made."""
        changed = [one for one in book.slots.values() if one.stored is not None and one.lines]
        fresh = [one for one in book.slots.values() if one.stored is None]
        after: Sequence[Contact] = []
        if changed:
            if passed := _passed_on(changed):
                await rows.free_addresses(tx, passed)
            after = await rows.change(tx, [(one.id, one.values) for one in changed])
        made: Sequence[Contact] = []
        if fresh:
            made = await rows.add_many(tx, [(one.id, one.values) for one in fresh])
        await self._tell(tx, made, after, book)
        there = {one.id for one in made}
        return {line for one in fresh if one.id not in there for line in one.lines}

    async def _tell(
        self, tx: Transaction, made: Sequence[Contact], after: Sequence[Contact], book: _Book
    ) -> None:
        done = [Done("contact.created", "contact", one.id, after=one.values()) for one in made]
        lookup = Lookup(self.chassis, tx.tenant or "")
        for one in after:
            stored = book.slots[one.id].stored
            was, now = difference(stored.values() if stored else {}, one.values())
            done.append(Done("contact.updated", "contact", one.id, before=was, after=now))
            await lookup.forget(one)
        await self.audit.record_many(tx, done)
        told = [event.created(one) for one in made]
        await self.chassis.outbox.add_many(tx, [*told, *(event.updated(one) for one in after)])

    async def _check(self, tx: Transaction, items: Sequence[Item]) -> dict[int, Outcome]:
        """Return the outcomes of those that cannot be contacts."""
        keys = {key for one in items for key in one.fields.custom}
        held = await custom_fields.TABLE.hold(tx, "contact", keys) if keys else []
        # Not all that is held: another field may have the key by now, and values of another type.
        known = {one.id for one in self.fields}
        fields = [one for one in held if one.id in known]
        missing = await self.owners.missing(one.fields.owner_id for one in items)
        asked = {one.fields.company_id for one in items if one.fields.company_id is not None}
        there = await companies.hold(tx, asked) if asked else set()
        found: dict[int, Outcome] = {}
        for item in items:
            errors = _faults(item, fields, missing, there)
            if errors:
                found[item.line] = Outcome("invalid", errors=errors)
        return found


def _faults(
    item: Item, known: Sequence[CustomField], missing: set[str], there: set[UUID]
) -> list[RowError]:
    line, fields = item.line, item.fields
    errors = []
    if item.id is None:  # otherwise its contact may be there, and have a name
        try:
            fields.check()
        except ContactNameless as exc:
            errors.append(_nameless(item, exc))
    try:
        check_values(known, fields.custom)
    except CustomValuesInvalid as exc:
        errors += [_custom_error(line, one) for one in exc.errors or ()]
    if fields.owner_id in missing:
        told = "is no active user"
        errors.append(RowError(line, "owner_id", "owner_unknown", told, fields.owner_id))
    if fields.company_id is not None and fields.company_id not in there:
        company = str(fields.company_id)
        errors.append(RowError(line, "company_id", "company_unknown", "is no company", company))
    return errors


def _passed_on(changed: Sequence[_Slot]) -> list[UUID]:
    """Return those whose address, as it is stored, is another one's now."""
    taken = {one.values["email"]: one.id for one in changed if one.values["email"] is not None}
    return [
        one.id for one in changed if one.stored and taken.get(one.stored.email, one.id) != one.id
    ]


def _nameless(item: Item, error: ContactNameless) -> RowError:
    return RowError(item.line, None, "nameless", error.message)


def _custom_error(line: int, error: Mapping[str, Any]) -> RowError:
    key = str(error["pointer"]).removeprefix("#/custom/")
    return RowError(line, f"custom.{key}", "custom_field", str(error["detail"]))
