"""An import goes on after `kill -9`: every row has its effect once, and every effect its event."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from contact_service import ContactServiceSettings
from contact_service.handlers.import_run import BATCH
from contact_service.worker import Worker

pytestmark = pytest.mark.anyio
KILLED = Path(__file__).with_name("killed.py")


@pytest.mark.parametrize(
    ("rows", "batches"),
    [
        (BATCH, 0.5),
        (BATCH * 3, 1),
        pytest.param(BATCH * 3, 1.5, marks=pytest.mark.slow),
        pytest.param(BATCH * 40, 17.5, marks=pytest.mark.slow),
    ],
)
async def test_an_import_whose_process_was_killed_is_finished_by_another(
    *, make_client: Any, place: Any, tmp_path: Path, rows: int, batches: float
) -> None:
    place.rows("delete from shared.contact_import_queue")  # what other tests have left
    tenant = await place.new_tenant()
    schema = f"tenant_{tenant}"
    file = tmp_path / "contacts.csv"
    lines = [f"N{n},p{n}@example.com" for n in range(rows - 1)]
    file.write_text("\n".join(["first_name,email", *lines, "bad,no address", ""]))
    command = [str(KILLED), place.app, tenant, str(file), str(batches)]
    child = await asyncio.create_subprocess_exec(
        sys.executable, *command, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        _, said = await child.communicate()
    assert child.returncode == -signal.SIGKILL, said.decode()
    done = int(batches) * BATCH
    assert place.rows(f"select count(*) from {schema}.contacts") == [(done,)]
    assert place.rows(f"select status, line > 0 from {schema}.imports") == [("running", done > 0)]

    async with make_client() as somebody:
        client = somebody.of(tenant)
        # Nobody waits for the lease of a dead process here.
        client.rows("update shared.contact_import_queue set due_at = now()")
        worker = Worker(client.app.state.chassis, ContactServiceSettings())
        async with asyncio.timeout(60):
            while client.rows("select 1 from {t}.imports where status = 'running'"):
                await worker.turn()

        (found,) = (await client.get("/api/contacts/imports")).json()["items"]
        assert (found["status"], found["created"], found["invalid"]) == ("done", rows - 1, 1)
        assert client.rows("select count(*) from {t}.contacts") == [(rows - 1,)]
        told = len(client.told("ContactCreated"))
        query = (
            "select count(*) from eventing.outbox where subject like '%.contact.created.%'"
            f" and tenant = '{client.tenant}'"
        )
        assert client.rows(query)[0][0] + told == rows - 1
        again = await client.upload(file.read_bytes())
        assert again.json()["id"] == found["id"]


async def test_a_worker_that_is_stopped_leaves_the_rest_to_the_next_one(client: Any) -> None:
    worker = Worker(client.app.state.chassis, ContactServiceSettings())
    worker.stopping = True
    lines = "".join(f"N{n},p{n}@example.com\n" for n in range(BATCH * 2 + 1))
    answer = await client.upload(f"first_name,email\n{lines}".encode())
    assert answer.status_code == 202
    await worker.turn()
    worker.stopping = False
    async with asyncio.timeout(30):
        while client.rows("select 1 from {t}.imports where status = 'running'"):
            await worker.turn()
    assert client.rows("select count(*) from {t}.contacts") == [(BATCH * 2 + 1,)]
