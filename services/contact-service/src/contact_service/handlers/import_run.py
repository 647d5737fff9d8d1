"""The rows of an import: each batch in one transaction, with how far the import is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from contact_service.domain.columns import Columns, RowError, RowValues
from contact_service.domain.company import CompanyFields
from contact_service.domain.identity import new_id
from contact_service.domain.imports import Counts, Import
from contact_service.handlers.companies import add_company
from contact_service.handlers.owners import Owners
from contact_service.handlers.upsert import Item, Outcome, Upsert
from contact_service.queries import companies, custom_fields, import_queue
from contact_service.queries import imports as rows
from contact_service.settings import ContactServiceSettings
from mtenant_chassis import AuditTrail, Chassis
from mtenant_database import Tenant, Transaction

BATCH: Final = 500


@dataclass(frozen=True)
class ImportRun:
    """Works on an import of one tenant, from where it stopped.

    A batch of rows, what they make, why some were refused and how far the import is are one
    transaction: after a crash the next one begins where the last one ended.

    Attributes:
        chassis: Of the running app.
        own: This service's settings.
        tenant: Whose import.
    """

    chassis: Chassis
    own: ContactServiceSettings
    tenant: Tenant

    async def finish(self, which: UUID) -> Import | None:
        """Work on it to its end; None if it is not there any more."""
        while (found := await self.step(which)) is not None:
            if found.status != "running":
                return found
        return None

    async def step(self, which: UUID) -> Import | None:
        """Do some rows, or end it if there are none left; return how far it is."""
        found = await rows.get(self.tenant, which)
        if found is None or found.status != "running":
            return found
        owners = Owners(self.chassis, self.own, self.tenant.id, found.caller)
        columns = Columns.of(found.header, await custom_fields.TABLE.of(self.tenant, "contact"))
        staged = await rows.rows(self.tenant, which, after=found.line, limit=BATCH)
        read = [columns.read(one.line, one.cells) for one in staged]
        # Before the transaction: auth-service may be slow, and nobody should wait for that.
        await owners.missing(one.fields.owner_id for one in read if isinstance(one, RowValues))
        async with self.tenant.transaction() as tx:
            now = await rows.lock(tx, which)
            if now is None or now.line != found.line or now.status != "running":
                return now  # somebody else works on it
            if not staged:
                return await self._end(tx, now, "done", None)
            await self._do(tx, now, columns, owners, read, last=staged[-1].line)
            await import_queue.keep(tx, which)
            return await rows.get(tx, which)

    async def fail(self, which: UUID, why: str) -> None:
        """Give it up."""
        async with self.tenant.transaction() as tx:
            found = await rows.lock(tx, which)
            if found is not None and found.status == "running":
                await self._end(tx, found, "failed", why)

    async def let_go(self, which: UUID) -> None:
        """Leave it to whoever comes next, at once."""
        async with self.tenant.transaction() as tx:
            await import_queue.keep(tx, which, timedelta())

    async def _do(
        self,
        tx: Transaction,
        found: Import,
        columns: Columns,
        owners: Owners,
        read: Sequence[RowValues | list[RowError]],
        *,
        last: int,
    ) -> None:
        audit = self._trail(found)
        good = [one for one in read if isinstance(one, RowValues)]
        refused = {one[0].line: one for one in read if isinstance(one, list)}
        good = await self._with_companies(tx, audit, good, dry_run=found.dry_run)
        items = [Item(one.line, one.id, one.given, one.fields) for one in good]
        earlier: set[str] = set()
        if found.dry_run:
            emails = [one.fields.email for one in good if one.fields.email is not None]
            earlier = await rows.earlier(tx, found.id, until=found.line, emails=emails)
        upsert = Upsert(
            self.chassis,
            audit,
            owners,
            columns.fields,
            found.on_duplicate,
            dry_run=found.dry_run,
        )
        outcomes = await upsert.apply(tx, items, earlier=frozenset(earlier))
        if found.dry_run:
            # Nothing was made that the others of an address could be found by.
            made = [one for one in items if outcomes[one.line].status == "created"]
            first, again = _first_of_each(made)
            known = frozenset(one.fields.email or "" for one in first)
            outcomes |= await upsert.apply(tx, again, earlier=known)
        refused |= {line: list(one.errors) for line, one in outcomes.items() if one.errors}
        if refused:
            said = {line: [one.said() for one in why] for line, why in refused.items()}
            await rows.refuse(tx, found.id, said)
        if not found.dry_run:
            await rows.forget_rows(tx, found.id, after=found.line, until=last)
        await rows.advance(tx, found.id, last, _counts(outcomes, refused))

    async def _with_companies(
        self, tx: Transaction, audit: AuditTrail, read: list[RowValues], *, dry_run: bool
    ) -> list[RowValues]:
        """Return rows with the ids of their companies; those that are not there are made."""
        ids = {one.fields.company_id for one in read if one.fields.company_id is not None}
        there = await companies.hold(tx, ids) if ids else set()
        missing = [one for one in read if one.company and one.fields.company_id not in there]
        if not missing:
            return read
        names = list(dict.fromkeys(one.company for one in missing if one.company))
        if not dry_run:
            # Names are nobody's own: two imports would each make the same company.
            await tx.lock("contact-service companies by name")
        known = await companies.named(tx, names)
        keys = await rows.keys(tx, names)
        for name in names:
            if keys[name] not in known and not dry_run:
                values = CompanyFields(name=name).values()
                made = await add_company(self.chassis, tx, audit, new_id(), values)
                known[keys[name]] = made.id
        by_name = {name: known[key] for name, key in keys.items() if key in known}
        return [_at(one, by_name, there) for one in read]

    async def _end(self, tx: Transaction, found: Import, status: str, error: str | None) -> Import:
        over = await rows.finish(tx, found.id, status, error)
        await import_queue.remove(tx, found.id)
        said = {name: getattr(over, name) for name in ("created", "updated", "skipped", "invalid")}
        await self._trail(found).record(
            tx, f"import.{status}", "import", found.id, after={**said, "error": error}
        )
        return over

    def _trail(self, found: Import) -> AuditTrail:
        return AuditTrail(self.chassis.settings.service, found.actor, found.request_id)


def _at(one: RowValues, known: Mapping[str, UUID], there: set[UUID]) -> RowValues:
    if not one.company or one.fields.company_id in there:
        return one
    company = known.get(one.company)  # None: a dry run would make it
    fields = one.fields.model_copy(update={"company_id": company})
    return replace(one, fields=fields, given=one.given | {"company_id"})


def _first_of_each(items: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """Return the first item of each address, and the others."""
    seen: set[str] = set()
    first: list[Item] = []
    again: list[Item] = []
    for item in items:
        email = item.fields.email
        (again if email is not None and email in seen else first).append(item)
        if email is not None:
            seen.add(email)
    return first, again


def _counts(outcomes: Mapping[int, Outcome], refused: Mapping[int, Any]) -> Counts:
    found = Counter(one.status for line, one in outcomes.items() if line not in refused)
    return Counts(found["created"], found["updated"], found["skipped"], len(refused))
