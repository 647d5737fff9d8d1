"""The promise of the package as a state machine: whatever happens, no row of another tenant."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from psycopg.pq import TransactionStatus

from mtenant_database.database import Database
from mtenant_database.errors import (
    CommitUnknown,
    ConstraintConflict,
    DatabaseUnavailable,
    LockTimeout,
    PoolExhausted,
    QueryTimeout,
    SerializationConflict,
    StatementFault,
)
from mtenant_database.tenant import Tenant
from mtenant_database.transaction import Transaction

DEADLINE = 20.0
BASE = b"pg_catalog,pg_temp"

TENANTS = st.sampled_from([0, 1])
IDS = st.integers(1, 6)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["insert", "delete", "update"]), IDS),
        st.tuples(st.sampled_from(["read", "fail", "undo", "nest"]), st.just(0)),
    ),
    max_size=6,
)
# What may happen to anybody when connections are killed under them.
DISTURBED = (DatabaseUnavailable, CommitUnknown, PoolExhausted)
# What a statement of these may rightly answer.
EXPECTED = (ConstraintConflict, QueryTimeout, LockTimeout, SerializationConflict, StatementFault)

STATEMENTS = {
    "insert": "insert into contacts values (%s, {name})",
    "delete": "delete from contacts where id = %s",
    "update": "update contacts set name = name || '' where id = %s",
}


class Undo(Exception):
    """Leaves a block so that it is rolled back."""


class World:
    """Two tenants with equal primary keys, and whoever looks whether they see each other."""

    def __init__(self, place: Any) -> None:
        self.place = place
        self.tenants = [place.fresh(), place.fresh()]
        self.db = Database(place.config(max_open_conns=3, max_idle_conns=2))

    def handle(self, which: int, **options: Any) -> Tenant:
        return self.db.tenant(self.tenants[which], **options)

    def truth(self, which: int) -> set[int]:
        """Return the ids that the tenant really has; every row there must be its own."""
        rows = self.place.run(f"select id, name from tenant_{self.tenants[which]}.contacts")
        assert {name for _, name in rows} <= {self.tenants[which]}
        return {number for number, _ in rows}

    def check(self, which: int, rows: list[Any]) -> None:
        assert {name for _, name in rows} <= {self.tenants[which]}, "a foreign row"

    async def read(self, which: int, verbs: Any) -> set[int]:
        rows = await verbs.fetch_all("select id, name from contacts")
        self.check(which, rows)
        return {number for number, _ in rows}

    async def write(self, which: int, verbs: Any, verb: str, number: int) -> None:
        name = f"'{self.tenants[which]}'"
        await verbs.execute(STATEMENTS[verb].format(name=name), [number])

    async def transaction(self, which: int, steps: list[tuple[str, int]], undo: bool) -> None:
        handle = self.handle(which)
        async with handle.transaction() as tx:
            await self._steps(which, tx, list(steps))
            await self.read(which, tx)
            if undo:
                raise Undo

    async def _steps(self, which: int, tx: Transaction, steps: list[tuple[str, int]]) -> None:
        while steps:
            verb, number = steps.pop(0)
            if verb == "read":
                await self.read(which, tx)
            elif verb == "nest":
                await self._nested(which, tx, steps)
            elif verb == "undo":
                raise Undo
            elif verb == "fail":
                await tx.execute("select 1/0")
            else:
                await self.write(which, tx, verb, number)

    async def _nested(self, which: int, tx: Transaction, steps: list[tuple[str, int]]) -> None:
        try:
            async with tx.transaction():
                await self._steps(which, tx, steps)
        except (Undo, *EXPECTED):
            pass
        await self.read(which, tx)
        scoped = await tx.fetch_value("select current_setting('mtenant.tenant_id')")
        assert scoped == self.tenants[which]

    async def settled(self) -> None:
        """Wait until the pool has replaced what was killed."""
        pool = self.db.pool
        async with asyncio.timeout(DEADLINE):
            while True:
                stats = pool.get_stats()
                if not stats["pool_used"] and stats["pool_available"] == stats["pool_size"] >= 2:
                    return
                await asyncio.sleep(0.002)


class Isolation(RuleBasedStateMachine):
    """Random work of two tenants, with everything that can go wrong in between."""

    place: ClassVar[Any]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.world = World(self.place)
        self.runner.run(self.world.db.connect())

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(coroutine)

    def _attempt(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        async def attempt() -> None:
            try:
                await coroutine
            except (Undo, *EXPECTED, *DISTURBED):
                pass

        self._run(attempt())

    def _cancelled(self, coroutine: Coroutine[Any, Any, Any], turns: int, twice: bool) -> None:
        async def cancel() -> None:
            task = asyncio.ensure_future(coroutine)
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            if twice:
                await asyncio.sleep(0)
                task.cancel()
            await asyncio.wait([task], timeout=DEADLINE)
            assert task.done()
            if not task.cancelled() and (error := task.exception()) is not None:
                assert isinstance(error, (Undo, *EXPECTED, *DISTURBED)), error

        self._run(cancel())

    @rule(which=TENANTS)
    def read(self, which: int) -> None:
        async def read() -> None:
            try:
                seen = await self.world.read(which, self.world.handle(which))
            except DISTURBED:
                return
            assert seen == self.world.truth(which)

        self._run(read())

    @rule(which=TENANTS, verb=st.sampled_from(["insert", "delete", "update"]), number=IDS)
    def write(self, which: int, verb: str, number: int) -> None:
        self._attempt(self.world.write(which, self.world.handle(which), verb, number))

    @rule(which=TENANTS, number=IDS)
    def write_by_fetching(self, which: int, number: int) -> None:
        query = "with gone as (delete from contacts where id = %s returning *) select * from gone"

        async def fetch() -> None:
            self.world.check(which, await self.world.handle(which).fetch_all(query, [number]))

        self._attempt(fetch())

    @rule(which=TENANTS, steps=STEPS, undo=st.booleans())
    def transaction(self, which: int, steps: list[tuple[str, int]], undo: bool) -> None:
        self._attempt(self.world.transaction(which, steps, undo))

    @rule(
        which=TENANTS,
        steps=STEPS,
        turns=st.integers(0, 40),
        twice=st.booleans(),
        alone=st.booleans(),
    )
    def cancellation(
        self, which: int, steps: list[tuple[str, int]], turns: int, twice: bool, alone: bool
    ) -> None:
        world = self.world
        work = (
            world.read(which, world.handle(which))
            if alone
            else world.transaction(which, steps, undo=False)
        )
        self._cancelled(work, turns, twice)

    @rule(which=TENANTS, turns=st.integers(0, 12), twice=st.booleans())
    def cancellation_of_a_slow_statement(self, which: int, turns: int, twice: bool) -> None:
        self._cancelled(self.world.handle(which).execute("select pg_sleep(30)"), turns, twice)

    @rule(which=TENANTS, work=st.lists(st.tuples(TENANTS, STEPS), min_size=2, max_size=6))
    def many_at_once(self, which: int, work: list[tuple[int, list[tuple[str, int]]]]) -> None:
        async def everybody() -> None:
            jobs: list[Awaitable[Any]] = [
                self.world.transaction(tenant, steps, undo=False) for tenant, steps in work
            ]
            jobs += [self.world.read(tenant, self.world.handle(tenant)) for tenant, _ in work]
            for outcome in await asyncio.gather(*jobs, return_exceptions=True):
                allowed = (Undo, *EXPECTED, *DISTURBED)
                assert not isinstance(outcome, BaseException) or isinstance(outcome, allowed)

        self._run(everybody())

    @rule(which=TENANTS, during=st.booleans())
    def connections_are_killed(self, which: int, during: bool) -> None:
        kill = (
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            f" where usename = '{self.world.place.role}' and datname = current_database()"
        )

        async def killed() -> None:
            if not during:
                self.world.place.run(kill)
                return
            async with self.world.handle(which).transaction() as tx:
                await self.world.read(which, tx)
                await asyncio.to_thread(self.world.place.run, kill)
                await self.world.read(which, tx)

        self._attempt(killed())

    @rule(which=TENANTS)
    def a_statement_times_out(self, which: int) -> None:
        handle = self.world.handle(which, timeout=0.005)

        async def late() -> None:
            with pytest.raises((QueryTimeout, *DISTURBED)):
                await handle.fetch_all("select pg_sleep(30)")

        self._run(late())

    @rule(which=TENANTS)
    def the_pool_is_exhausted(self, which: int) -> None:
        world = self.world

        async def exhausted() -> None:
            pool = world.db.pool
            lent = [await pool.getconn() for _ in range(pool.max_size)]
            usual, pool.timeout = pool.timeout, 0.01
            try:
                # After some kills in a row the breaker answers, before anybody waits.
                with pytest.raises((PoolExhausted, DatabaseUnavailable)):
                    await world.read(which, world.handle(which))
            finally:
                pool.timeout = usual
                for conn in lent:
                    await pool.putconn(conn)

        self._run(exhausted())

    @rule()
    def an_unknown_tenant_is_asked_for(self) -> None:
        async def unknown() -> None:
            with pytest.raises(Exception, match=r"no such tenant|unavailable"):
                await self.world.db.tenant("nobody").fetch_all("select 1")

        self._run(unknown())

    @invariant()
    def nothing_is_left_behind(self) -> None:
        world = self.world
        assert world.db._engine.lent == 0
        assert not len(world.db._engine.holders)
        for conn in list(world.db.pool._pool):
            status = conn.pgconn.transaction_status
            assert status in {TransactionStatus.IDLE, TransactionStatus.UNKNOWN}
            if status == TransactionStatus.IDLE:
                assert conn.pgconn.parameter_status(b"search_path") in {BASE, None}
        for which in (0, 1):
            world.truth(which)

    def teardown(self) -> None:
        try:
            self._run(self.world.settled())
        finally:
            self._run(self.world.db.close())
            self.runner.close()


def _explore(place: Any, examples: int, steps: int) -> None:
    class Here(Isolation):
        pass

    Here.place = place
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_tenant_sees_a_row_of_another(place: Any) -> None:
    _explore(place, examples=15, steps=15)


@pytest.mark.slow
def test_no_tenant_sees_a_row_of_another_for_long(place: Any) -> None:
    _explore(place, examples=100, steps=40)


async def _copy(world: World) -> None:
    async with world.handle(0).copy("copy contacts to stdout") as copy:
        async for _ in copy.rows():
            pass


async def _stream(world: World) -> None:
    async with world.handle(0).stream("select * from contacts", size=1) as rows:
        async for _ in rows:
            pass


Make = Callable[[World], Coroutine[Any, Any, Any]]

WORK: dict[str, Make] = {
    "read": lambda world: world.read(0, world.handle(0)),
    "write": lambda world: world.write(0, world.handle(0), "update", 1),
    "writing read": lambda world: world.handle(0).fetch_all(
        "update contacts set name = name returning id, name"
    ),
    "transaction": lambda world: world.transaction(
        0, [("update", 1), ("nest", 0), ("read", 0)], False
    ),
    "failing": lambda world: world.handle(0).execute("select 1/0"),
    "unknown": lambda world: world.db.tenant("nobody").execute("select 1"),
    "copy": _copy,
    "stream": _stream,
}


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("twice", [False, True])
def test_a_cancellation_at_any_await_leaves_every_connection_clean(
    place: Any, work: str, twice: bool
) -> None:
    """Cancel at the first turn of the loop, at the second, ... until the work gets through."""

    async def sweep() -> None:
        world = World(place)
        async with world.db as db:
            await world.settled()
            for turns in range(200):
                task = asyncio.ensure_future(WORK[work](world))
                for _ in range(turns):
                    await asyncio.sleep(0)
                done = task.done()
                task.cancel()
                if twice:
                    await asyncio.sleep(0)
                    task.cancel()
                await asyncio.wait([task], timeout=DEADLINE)
                assert task.done()
                assert db._engine.lent == 0
                seen = await world.read(1, world.handle(1))
                assert seen == {1}
                if done:
                    break
            else:
                pytest.fail("the work never got through")
            await world.settled()

    asyncio.run(sweep())
