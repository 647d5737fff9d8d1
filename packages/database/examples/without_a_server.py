"""Code that works for a tenant, and its test: the fake needs no server."""

import asyncio

from mtenant_database import ConstraintConflict, Verbs
from mtenant_database.testing import RecordingDatabase

INSERT = "insert into contacts (id, email) values (%s, %s)"


async def add_contact(tenant: Verbs, number: int, email: str) -> bool:
    """Stand for any code that is handed a tenant or a transaction."""
    try:
        await tenant.execute(INSERT, [number, email])
    except ConstraintConflict:
        return False
    return True


async def test_a_known_address_is_not_added() -> None:
    """What a statement answers is said for all tenants, or for one."""
    db = RecordingDatabase()
    db.on(INSERT, error=ConstraintConflict(constraint="contacts_email_key"), tenant="acme")

    assert not await add_contact(db.tenant("acme"), 1, "ada@example.com")
    assert await add_contact(db.tenant("globex"), 1, "ada@example.com")
    assert [(r.tenant, r.outcome) for r in db.recorded] == [
        ("acme", "rolled back"),
        ("globex", "committed"),
    ]


async def test_it_is_part_of_the_callers_transaction() -> None:
    """Nothing is committed before the block ends."""
    db = RecordingDatabase()
    async with db.tenant("acme").transaction() as tx:
        assert await add_contact(tx, 1, "ada@example.com")
        assert [r.outcome for r in db.recorded] == ["open"]
    assert [r.outcome for r in db.recorded] == ["committed"]


asyncio.run(test_a_known_address_is_not_added())
asyncio.run(test_it_is_part_of_the_callers_transaction())
print("2 tests passed")
