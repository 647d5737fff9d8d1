"""What importing and exporting a file of 100,000 contacts costs, and whether its length is held in memory.

A part of `bench_services.py`. Each turn has a contact-service that was just started, so that its peak is this
file's alone, and each import an organization that has nothing yet. Beside them, for information, is COPY of
the same rows into and out of the same table by the bare driver: no checks, no events, no audit.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from uuid import uuid4

import psycopg
from harness import Bound, Case, Comparison

from mtenant_devstack.crm import Crm
from mtenant_devstack.http import Http
from mtenant_devstack.story import Organization, log_in, register

FEW, MANY = 10_000, 100_000
FLAT = 1.1  # times the peak of a tenth of the rows
UNBOUND = 1000.0
ROUNDS = 2
PATIENCE = 600.0  # seconds for an import to end
LOOK = 0.05  # seconds between two looks
FORMATS = ("ndjson", "csv")
COLUMNS = "id, first_name, last_name, email, status, custom, search"
SERVICE = "contact-service"

_numbers = itertools.count()


class Told(Comparison):
    """A comparison of what the cases say themselves, each asked once a round."""

    def _calibrate(self, case: Case) -> int:
        return 1

    def _sample(self, case: Case, turn: int) -> float:
        told = case.run(turn)
        assert isinstance(told, float)
        return told


class Peaks(Told):
    """A comparison of MiB."""

    unit = "MiB"
    scale = 1.0

    def as_dict(self) -> dict[str, object]:
        """Return the figures for the JSON report."""
        figures = super().as_dict()
        return {**figures, "mebibytes": figures.pop("seconds_per_call")}


@dataclass
class Files:
    """Imports and exports, with what each took and how much memory the service had at most.

    Attributes:
        crm: The running services.
        imported: The organization that has so many contacts.
        peaks: MiB, by the name of the case; taken by whoever compares them.
    """

    crm: Crm
    imported: dict[int, Organization] = field(default_factory=dict)
    peaks: dict[str, list[float]] = field(default_factory=dict)

    @property
    def nobody(self) -> Http:
        """A client that is not logged in."""
        return Http({name: service.url for name, service in self.crm.services.items()})

    def take_in(self, name: str, count: int) -> float:
        """Import a file; return the seconds of a row, from the upload to the end of the job."""
        organization = log_in(self.nobody, register(self.nobody, f"files{next(_numbers)}"))
        file = people(count)
        with self._watched(name):
            began = time.perf_counter()
            made = organization.owner.upload(SERVICE, "/api/contacts/import", "people.csv", file)
            while made["status"] == "running":
                assert time.perf_counter() - began < PATIENCE
                time.sleep(LOOK)
                made = organization.owner.get(SERVICE, f"/api/contacts/imports/{made['id']}")
            took = time.perf_counter() - began
        assert made["created"] == count, made
        self._analyze(organization)
        self.imported[count] = organization
        return took / count

    def give_out(self, name: str, count: int, form: str) -> float:
        """Export all; return the seconds of a row."""
        owner = log_in(self.nobody, self.imported[count]).owner
        with self._watched(name):
            began = time.perf_counter()
            answer = owner.ask("GET", SERVICE, f"/api/contacts/export?format={form}")
            took = time.perf_counter() - began
        assert answer.status == 200, answer.body[:400]
        assert len(answer.body.splitlines()) == count + (form == "csv")
        return took / count

    def copy_in(self) -> float:
        """Copy the rows into an empty table; return the seconds of a row."""
        made = register(self.nobody, f"files{next(_numbers)}")
        rows = [tuple(line.split(",")) for line in people(MANY).splitlines()[1:]]
        with psycopg.connect(self.crm.app) as connection:
            scope(connection, made)
            began = time.perf_counter()
            with connection.cursor().copy(f"copy contacts ({COLUMNS}) from stdin") as copy:
                for first, last, email in rows:
                    words = f"'{first.lower()}' '{last.lower()}' '{email}'"
                    copy.write_row((uuid4(), first, last, email, "lead", "{}", words))
            connection.commit()
            return (time.perf_counter() - began) / MANY

    def copy_out(self) -> float:
        """Copy the rows out of the table, in the order of an export; return the seconds of a row."""
        with psycopg.connect(self.crm.app) as connection:
            scope(connection, self.imported[MANY])
            began = time.perf_counter()
            asked = "select * from contacts where deleted_at is null order by created_at, id"
            with connection.cursor().copy(f"copy ({asked}) to stdout") as copy:
                lines = sum(1 for _ in copy.rows())
            assert lines == MANY
            return (time.perf_counter() - began) / MANY

    def peak(self, name: str) -> float:
        """Return the next peak of a case."""
        return self.peaks[name].pop(0)

    @contextmanager
    def _watched(self, name: str) -> Iterator[None]:
        service = self.crm.services[SERVICE]
        service.stop()
        service.start()
        yield
        assert service.pid is not None
        self.peaks.setdefault(name, []).append(peak_memory(service.pid))

    def _analyze(self, organization: Organization) -> None:
        """Do now what autovacuum does within a minute, so that no turn depends on when it came."""
        with psycopg.connect(self.crm.owner) as connection:
            scope(connection, organization)
            connection.execute("analyze contacts")


def people(count: int) -> str:
    """Return a file of contacts."""
    lines = (f"Person{n},Example,person{n}@example.com" for n in range(count))
    return "\n".join(["first_name,last_name,email", *lines])


def scope(connection: psycopg.Connection, organization: Organization) -> None:
    """Let a connection's statements find an organization's tables."""
    path = f"tenant_{organization.tenant}, pg_catalog"
    connection.execute("select set_config('search_path', %s, false)", [path])


def peak_memory(pid: int) -> float:
    """Return what a process has had in memory at most, in MiB (proc(5), VmHWM)."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    [kib] = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return kib / 1024


def comparisons(crm: Crm) -> list[Comparison]:
    """Return what is compared; in this order, for what is imported first is exported then."""
    files = Files(crm)
    made = pair(files, "import", files.take_in, Case("COPY in", lambda n: files.copy_in()))
    for form in FORMATS:
        out = Case(f"COPY out, beside {form}", lambda n: files.copy_out())
        made += pair(files, f"export as {form}", partial(files.give_out, form=form), out)
    return made


def rates(compared: Sequence[Comparison]) -> list[str]:
    """Return the rows a second of what was timed, as lines for people."""
    timed = [one for one in compared if not isinstance(one, Peaks)]
    return [
        f"{name}: {1 / seconds:,.0f} rows/s"
        for one in timed
        for name, seconds in one.per_call.items()
    ]


def pair(
    files: Files, what: str, work: Callable[[str, int], float], bare: Case
) -> list[Comparison]:
    """Return the comparison of times, and the one of the peaks that were seen meanwhile."""
    few, many = (f"{what}, {count:,} rows" for count in (FEW, MANY))
    cases = [Case(few, lambda n: work(few, FEW)), Case(many, lambda n: work(many, MANY))]
    peaks = [Case(few, lambda n: files.peak(few)), Case(many, lambda n: files.peak(many))]
    bounds = [Bound(many, bare.name, UNBOUND), Bound(many, few, UNBOUND)]
    return [
        Told(f"services: {what}, a row", [*cases, bare], bounds, rounds=ROUNDS),
        Peaks(f"services: {what}, peak", peaks, [Bound(many, few, FLAT)], rounds=ROUNDS),
    ]
