"""What `mtenant-db doctor` says of a database with all the services' tables and some tenants."""

from __future__ import annotations

import asyncio

import communication_service
import contact_service
import deal_service
import tenant_service
from auth_service.app import MIGRATIONS as ACCOUNTS
from mtenant_chassis.testing import Place
from mtenant_database.doctor import examine

FOLDERS = {
    "auth": ACCOUNTS,
    "tenant": tenant_service.MIGRATIONS,
    "contact": contact_service.MIGRATIONS,
    "deal": deal_service.MIGRATIONS,
    "communication": communication_service.MIGRATIONS,
}


def test_no_tenants_rows_are_within_reach_of_others_where_all_services_have_their_tables(
    postgres_dsn: str,
) -> None:
    place = Place.make(postgres_dsn, FOLDERS)
    for _ in range(2):
        asyncio.run(place.new_tenant())

    report = asyncio.run(examine(place.app))

    assert [str(one) for one in report.findings if one.severity == "high"] == []
    assert (report.tenants, report.unseen) == (2, ())
