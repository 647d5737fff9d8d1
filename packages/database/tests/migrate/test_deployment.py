from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict

from mtenant_database.config import DatabaseConfig
from mtenant_database.migrate import (
    MigrationFileInvalid,
    NotInstalled,
    list_tenants,
    migrate_on_start,
    provision,
)

if TYPE_CHECKING:
    from mtenant_database.migrate.testing import ScratchDatabase

pytest_plugins = ["mtenant_database.migrate.testing"]


def config(db: ScratchDatabase, folder: Path, **more: str) -> DatabaseConfig:
    parts = conninfo_to_dict(db.deploy)
    environ = {
        "DB_HOST": str(parts["host"]),
        "DB_PORT": str(parts["port"]),
        "DB_USER": str(parts["user"]),
        "DB_NAME": str(parts["dbname"]),
        "DB_MIGRATE_PATH": str(folder),
    }
    return DatabaseConfig.from_env(environ | more)


def test_a_program_migrates_on_its_start_only_if_it_is_told_to(
    scratch_database: ScratchDatabase, tmp_path: Path
) -> None:
    db = scratch_database
    tmp_path.joinpath("001_people.sql").write_text("create table people (id int)")

    async def main() -> None:
        assert await migrate_on_start(config(db, tmp_path), "contact", settings=db.settings) is None
        with pytest.raises(NotInstalled):
            await list_tenants(db.deploy, settings=db.settings)
        on = config(db, tmp_path, DB_AUTO_MIGRATE="true")
        reports = await asyncio.gather(
            *(migrate_on_start(on, "contact", settings=db.settings) for _ in range(3))
        )
        assert [report.results for report in reports if report is not None] == [[], [], []]
        await provision(db.deploy, "acme", settings=db.settings)
        tmp_path.joinpath("002_email.sql").write_text("alter table people add email text")
        report = await migrate_on_start(on, "contact", settings=db.settings)
        assert report is not None
        assert [one.steps for one in report.results] == [("contact 2 email (up)",)]

    asyncio.run(main())


def test_a_folder_that_is_not_there_is_no_reason_to_start_without_it(
    scratch_database: ScratchDatabase, tmp_path: Path
) -> None:
    on = config(scratch_database, tmp_path / "nowhere", DB_AUTO_MIGRATE="true")
    with pytest.raises(MigrationFileInvalid, match="no such folder"):
        asyncio.run(migrate_on_start(on, "contact"))
