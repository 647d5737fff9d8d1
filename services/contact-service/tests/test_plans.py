"""Every SELECT of `queries` on a tenant with many contacts: none reads a large table from end to end."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

from contact_service.domain.listing import Listing
from contact_service.queries import companies, contacts, custom_fields, import_queue, imports
from mtenant_chassis.testing import Explaining, scans
from mtenant_config import Secret
from mtenant_database import Database, DatabaseConfig, Verbs

pytestmark = pytest.mark.anyio

LARGE = {"contacts", "companies", "imports", "import_rows", "contact_import_queue"}
NOW = datetime(2026, 1, 1, tzinfo=UTC)

# What may read all of a large table, and why.
_ALL_OF_IT = "counts all rows, or nearly all, and the table is the shortest way"
SCANS = {
    "select count(*) from contacts where deleted_at is null": _ALL_OF_IT,
    "select count(*) from contacts where deleted_at is null"
    " and updated_at >= %(updated_after)s": _ALL_OF_IT,
    "select count(*) from companies where deleted_at is null": _ALL_OF_IT,
    "select count(*) from companies where deleted_at is null"
    " and updated_at >= %(updated_after)s": _ALL_OF_IT,
    imports._COUNT: _ALL_OF_IT,
}
SEED = """
insert into {t}.companies (id, name, domain, owner_id, parent_id, search, custom, created_at)
    select md5('company' || n)::uuid, 'Company ' || n, 'c' || n || '.example.com', 'owner' || n % 50,
    case when n > 100 then md5('company' || n % 100 + 1)::uuid end,
    array_to_tsvector(array['company', 'w' || n]), jsonb_build_object('key', n % 1000),
    timestamptz '2026-01-01' + n * interval '1 second'
    from generate_series(1, {companies}) n;
insert into {t}.contacts (id, first_name, last_name, email, phone, status, company_id, owner_id, search,
    custom, created_at, updated_at, deleted_at)
    select md5('contact' || n)::uuid, 'First' || n % 997, 'Last' || n, 'p' || n || '@example.com',
    '+1 555 ' || n, case when n % 200 = 0 then 'active' else 'lead' end,
    md5('company' || n % {companies} + 1)::uuid, 'owner' || n % 500,
    array_to_tsvector(array['first' || n % 997, 'last' || n]), jsonb_build_object('key', n % 1000),
    timestamptz '2026-01-01' + n * interval '1 second',
    timestamptz '2026-01-01' + n * interval '1 second', case when n % 100 = 0 then now() end
    from generate_series(1, {contacts}) n;
insert into {t}.imports (id, format, on_duplicate, dry_run, header, ignored, total, actor, caller,
    digest, created_at, finished_at)
    select md5('import' || n)::uuid, 'csv', 'skip', false, '[]', '[]', 1, 'user:u', 'u',
    sha256(n::text::bytea), now() - n * interval '1 minute', now()
    from generate_series(1, 2000) n;
insert into {t}.import_rows (import_id, line, cells, email, errors)
    select md5('import' || n % 200 + 1)::uuid, n, '[]', 'p' || n || '@example.com',
    case when n % 10 = 0 then '[]'::json end from generate_series(1, {contacts}) n;
insert into {t}.custom_fields (id, entity, key, label, type)
    values (md5('field')::uuid, 'contact', 'key', 'Key', 'number');
insert into shared.contact_import_queue (id, tenant, due_at)
    select gen_random_uuid(), 'other', now() + n * interval '1 hour' from generate_series(1, 3000) n;
vacuum analyze {t}.companies, {t}.contacts, {t}.imports, {t}.import_rows,
    shared.contact_import_queue
"""


def md5(text: str) -> UUID:
    return UUID(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest())


CONTACT, COMPANY, IMPORT = md5("contact7"), md5("company7"), md5("import7")
AFTER: dict[str, tuple[Any, UUID]] = {
    "created_at": (NOW.replace(minute=5), CONTACT),
    "updated_at": (NOW.replace(minute=5), CONTACT),
    "name": ("last5", CONTACT),
}
BASES = [
    Listing(),
    Listing(deleted=True),
    Listing(query="'last77':*"),
    Listing(custom={"key": 7}),
    Listing(created_after=NOW.replace(minute=30), created_before=NOW.replace(minute=31)),
    Listing(updated_after=NOW.replace(minute=30)),
]
OF_CONTACTS = [
    Listing(equal={"status": "active"}),
    Listing(equal={"company_id": COMPANY}),
    Listing(equal={"owner_id": "owner7"}),
    Listing(equal={"email": "p7@example.com"}),
]
OF_COMPANIES = [
    Listing(equal={"parent_id": COMPANY}),
    Listing(equal={"owner_id": "owner7"}),
    Listing(equal={"domain": "c7.example.com"}),
]
VALUES = {
    "first_name": "First7",
    "last_name": "Last7",
    "email": "p7@example.com",
    "phone": "+1 555 7",
    "company_id": COMPANY,
}


async def lists(
    ask: Callable[..., Awaitable[Any]], on: Any, bases: list[Listing], sorts: tuple[str, ...]
) -> None:
    """Ask for every filter in every order, the first page and one from the middle."""
    for base in bases:
        for name in sorts:
            for sign in ("", "-"):
                asked = replace(base, sort=f"{sign}{name}")  # type: ignore[arg-type]  # made here
                await ask(on, asked, after=None, limit=51)
                await ask(on, asked, after=AFTER[name], limit=51)


async def counts(ask: Callable[..., Awaitable[Any]], on: Any, bases: list[Listing]) -> None:
    """Ask how many there are of every filter."""
    for base in bases:
        await ask(on, base)


async def ask_everything(on: Any) -> None:
    """Call every function that reads."""
    orders = ("created_at", "updated_at", "name")
    await contacts.get(on, CONTACT)
    await contacts.lock(on, CONTACT)
    await contacts.lock_many(on, [CONTACT, md5("contact8")])
    for lock in (False, True):
        await contacts.known(on, [CONTACT], ["p8@example.com"], lock=lock)
    await lists(contacts.page, on, [*BASES, *OF_CONTACTS], orders)
    await counts(contacts.count, on, [*BASES, *OF_CONTACTS])
    await lists(contacts.export, on, [*BASES, *OF_CONTACTS], ("created_at",))
    await contacts.candidates(on, VALUES)
    await companies.get(on, COMPANY)
    await companies.lock(on, COMPANY)
    await companies.lock_out(on, COMPANY)
    await companies.hold(on, [COMPANY])
    await lists(companies.page, on, [*BASES, *OF_COMPANIES], orders)
    await counts(companies.count, on, [*BASES, *OF_COMPANIES])
    await companies.named(on, ["company 7", "Company 8"])
    await companies.names_of(on, [COMPANY])
    await companies.is_in_use(on, COMPANY)
    await companies.above(on, md5("company700"), most=50)
    await companies.below(on, COMPANY, limit=1001)
    await companies.depth(on, COMPANY, most=50)
    await custom_fields.TABLE.of(on, "contact")
    await custom_fields.TABLE.everything(on)
    await custom_fields.TABLE.get(on, md5("field"))
    await custom_fields.TABLE.lock(on, md5("field"))
    await custom_fields.TABLE.lock_out(on, md5("field"))
    await custom_fields.TABLE.hold(on, "contact", ["key"])
    await custom_fields.TABLE.count(on)
    await custom_fields.is_in_use(on, "contact", "no_such_key")
    await custom_fields.is_in_use(on, "company", "no_such_key")
    await imports.get(on, IMPORT)
    await imports.lock(on, IMPORT)
    await imports.by_digest(on, b"7")
    await imports.newest_first(on, after=None, limit=51)
    await imports.newest_first(on, after=(NOW.replace(minute=5), IMPORT), limit=51)
    await imports.count(on)
    await imports.rows(on, IMPORT, after=0, limit=500)
    await imports.earlier(on, IMPORT, until=99_999, emails=["p6@example.com"])
    await imports.errors(on, IMPORT, after=0, limit=50)
    await imports.keys(on, ["Company 7"])
    await imports.sweep(on)
    await imports.forget_rows(on, IMPORT, after=0, until=500)
    await import_queue.claim(on)
    await contacts.free_addresses(on, [CONTACT])
    await custom_fields.forget_values(on, "contact", "key")


WRITERS = {
    *(
        "add",
        "add_many",
        "change",
        "delete",
        "restore",
        "purge",
        "stage",
        "staged",
        "refuse",
        "advance",
        "finish",
    ),
    *("forget_digest", "put", "keep", "untried", "remove", "admit"),
}


def readers(module: ModuleType) -> set[str]:
    """Return the functions of a module of queries that read."""
    found = inspect.getmembers(module, inspect.iscoroutinefunction)
    return {
        f"{module.__name__}.{name}"
        for name, function in found
        if function.__module__ == module.__name__ and name not in WRITERS
    }


@pytest.fixture
async def explaining(place: Any, request: pytest.FixtureRequest) -> AsyncIterator[Explaining]:
    """A transaction of a tenant with as many contacts as the test says."""
    tenant = await place.new_tenant()
    many: int = request.param
    sizes = {"{companies}": str(many // 3), "{contacts}": str(many), "{t}": f"tenant_{tenant}"}
    text = SEED
    for name, value in sizes.items():
        text = text.replace(name, value)
    for statement in text.split(";\n"):
        place.rows(statement)
    config = DatabaseConfig(url=Secret(place.app), max_retries=0, max_idle_conns=1)
    async with Database(config) as database, database.tenant(tenant).transaction() as tx:
        yield Explaining(tx)
    place.rows("delete from shared.contact_import_queue where tenant = 'other'")


@pytest.mark.parametrize(
    "explaining", [20_000, pytest.param(100_000, marks=pytest.mark.slow)], indirect=True
)
async def test_no_statement_reads_a_large_table_from_end_to_end(
    explaining: Explaining, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = (contacts, companies, custom_fields, imports, import_queue)
    called: set[str] = set()
    for module in modules:
        for name in readers(module):
            function = getattr(module, name.rpartition(".")[2])
            monkeypatch.setattr(module, function.__name__, _noting(function, name, called))

    await import_queue.admit(explaining.tx)
    await ask_everything(explaining)

    expected = {
        name
        for module in modules
        for name in (f"{module.__name__}.{one}" for one in vars(module))
        if getattr(getattr(module, name.rpartition(".")[2]), "is_noted", False)
    }
    assert called == expected
    assert len(explaining.plans) > 150
    assert isinstance(explaining.tx, Verbs)
    read = [
        f"{set(scans(plan, LARGE))} {text[-300:]}"
        for text, _, plan in explaining.plans
        if [*scans(plan, LARGE)] and text not in SCANS
    ]
    if read:
        pytest.fail("\n".join(read))


def _noting(function: Any, name: str, called: set[str]) -> Any:
    async def noted(*arguments: Any, **options: Any) -> Any:
        called.add(name)
        return await function(*arguments, **options)

    noted.is_noted = True  # type: ignore[attr-defined]  # a function may have attributes
    return noted
