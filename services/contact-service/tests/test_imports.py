from __future__ import annotations

import asyncio
import csv
import io
from typing import Any

import pytest
import xlsxwriter  # type: ignore[import-untyped]  # it has no types

from contact_service.handlers import import_file
from contact_service.handlers.import_file import ImportFiles, Options
from contact_service.handlers.import_run import BATCH
from contact_service.worker import Worker
from mtenant_chassis import AuditTrail, Principal
from mtenant_database.migrate import resume, suspend

pytestmark = pytest.mark.anyio

PATH = "/api/contacts/import"
HEADER = "first_name,last_name,email\r\n"


def people(count: int, start: int = 0) -> str:
    return "".join(f"First{n},Last{n},p{n}@example.com\r\n" for n in range(start, start + count))


async def test_good_rows_are_imported_and_bad_ones_told_with_line_and_field(client: Any) -> None:
    await client.field("floor", "number")
    text = (
        "First Name;E-Mail;Status;custom.floor;Shoe size\n"
        "Ada;ada@example.com;active;3;36\n"
        "\n"
        "Grace;no address;active;high;37\n"
        ";;active;1;38\n"
        '"Mary\nAnn";mary@example.com;lead;;39\n'
        "Alan;alan@example.com;Active;2.5;40;41\n"
        "Edsger;ed@example.com;LEAD;-1;42\n"
    )
    answer = await client.upload(text.encode("cp1252"))

    said = answer.json()
    assert answer.status_code == 200, answer.text
    assert (said["status"], said["total"], said["processed"]) == ("done", 6, 6)
    assert (said["created"], said["invalid"], said["updated"], said["skipped"]) == (2, 4, 0, 0)
    assert said["ignored_columns"] == ["Shoe size"]
    found = (await client.get(f"{answer.headers['location']}/errors")).json()
    assert {(one["line"], one["field"]) for one in found["items"]} == {
        (4, "email"),
        (4, "custom.floor"),
        (5, None),
        (6, "first_name"),
        (8, None),
    }
    assert found["next_line"] is None
    assert {one["value"] for one in found["items"] if one["line"] == 4} == {"no address", "high"}
    listed = await client.contacts(sort="name")
    assert [(one["name"], one["custom"]) for one in listed] == [
        ("Ada", {"floor": 3}),
        ("Edsger", {"floor": -1}),
    ]
    assert len(client.told("ContactCreated")) == 2


async def test_the_file_of_refused_rows_is_imported_once_it_is_corrected(client: Any) -> None:
    text = f'{HEADER}Ada,L,ada\r\n,,"a,b"\r\nGrace,H,grace@example.com\r\n\'=x,=y,e@\r\n'
    first = await client.upload(text.encode())
    file = await client.get(f"{first.headers['location']}/errors.csv")
    lines = list(csv.reader(io.StringIO(file.text)))

    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert lines[0] == ["first_name", "last_name", "email", "import_errors"]
    assert [line[:3] for line in lines[1:]] == [
        ["Ada", "L", "ada"],
        ["", "", "a,b"],
        ["'=x", "'=y", "e@"],
    ]
    assert all(line[3].startswith("email: ") for line in lines[1:])
    for number, line in enumerate(lines[1:]):
        line[2] = f"p{number}@example.com"
    corrected = io.StringIO()
    csv.writer(corrected).writerows(lines)
    second = await client.upload(corrected.getvalue().encode())
    assert (second.json()["created"], second.json()["invalid"]) == (3, 0)
    assert second.json()["ignored_columns"] == ["import_errors"]
    assert ("=x", "=y") in {
        (one["first_name"], one["last_name"]) for one in await client.contacts()
    }


async def test_the_file_of_refused_rows_has_all_their_cells(client: Any) -> None:
    first = await client.upload(f"{HEADER}John,Smith, Jr,j@x.example\r\nA\r\n,x,y\r\n".encode())
    file = await client.get(f"{first.headers['location']}/errors.csv")
    lines = list(csv.reader(io.StringIO(file.text)))
    why = "row: has more cells than the first row"
    assert lines[1] == ["John", "Smith", " Jr", why, "j@x.example"]

    second = await client.upload(file.content)
    found = (await client.get(f"{second.headers['location']}/errors")).json()["items"]
    assert (2, "too_many_cells") in {(one["line"], one["code"]) for one in found}


@pytest.mark.parametrize(
    ("policy", "counts", "names"),
    [
        ("error", (1, 0, 0, 3), {"Ada": "L", "New": "N"}),
        ("skip", (1, 0, 3, 0), {"Ada": "L", "New": "N"}),
        ("update", (1, 2, 1, 0), {"Augusta": "L", "New": "Other"}),
    ],
)
async def test_what_is_there_already_is_refused_skipped_or_updated(
    client: Any, policy: str, counts: tuple[int, ...], names: dict[str, str]
) -> None:
    await client.contact(first_name="Ada", last_name="L", email="ada@example.com")
    text = (
        "first_name,last_name,email\n"
        "Augusta,,ADA@example.com\n"
        "New,N,new@example.com\n"
        ",Other,new@example.com\n"
        ",,ada@example.com\n"
    )
    dry = (await client.upload(text.encode(), on_duplicate=policy, dry_run=True)).json()
    before = await client.contacts()
    done = (await client.upload(text.encode(), on_duplicate=policy)).json()

    kinds = ("created", "updated", "skipped", "invalid")
    assert tuple(done[kind] for kind in kinds) == counts
    # A dry run knows nothing of contacts that it did not make, so it cannot tell what stays the same.
    assert (dry["created"], dry["invalid"]) == (done["created"], done["invalid"])
    assert [one["first_name"] for one in before] == ["Ada"]
    assert {one["first_name"]: one["last_name"] for one in await client.contacts()} == names


async def test_a_dry_run_finds_duplicates_within_a_file_and_across_its_batches(client: Any) -> None:
    text = f"{HEADER}{people(BATCH)}{people(3)}Last,One,p1@example.com\r\n"
    dry = (await client.upload(text.encode(), dry_run=True)).json()
    done = (await client.upload(text.encode())).json()
    for said in (dry, done):
        assert (said["created"], said["invalid"]) == (BATCH, 4)
    assert client.rows("select count(*) from {t}.import_rows") == [(8,)]


async def test_a_contact_is_found_by_its_id_before_its_address(client: Any) -> None:
    ada = await client.contact(first_name="Ada", email="ada@example.com")
    await client.contact(first_name="Grace", email="grace@example.com")
    text = (
        "id,first_name,email\n"
        f"{ada['id']},Ada,new@example.com\n"
        f"{ada['id']},Ada,grace@example.com\n"
        "17,Alan,alan@example.com\n"
    )
    done = (await client.upload(text.encode(), on_duplicate="update")).json()
    assert (done["updated"], done["created"], done["invalid"]) == (1, 1, 1)
    assert (await client.get(f"/api/contacts/{ada['id']}")).json()["email"] == "new@example.com"


async def test_companies_are_found_by_name_and_made_once(client: Any) -> None:
    known = await client.company(name="Example Ltd")
    text = (
        "first_name,company,company_id\n"
        "A,EXAMPLE LTD,\n"
        "B,Other,\n"
        "C,other,0b5bb1a4-5c6e-4e6b-9d35-1b1e3a1a7f6c\n"
        f"D,Ignored,{known['id']}\n"
        "E,,0b5bb1a4-5c6e-4e6b-9d35-1b1e3a1a7f6c\n"
    )
    dry = (await client.upload(text.encode(), dry_run=True)).json()
    assert len(client.told("CompanyCreated")) == 1
    done = (await client.upload(text.encode())).json()
    assert (dry["created"], dry["invalid"]) == (done["created"], done["invalid"]) == (4, 1)
    assert [told.name for told in client.told("CompanyCreated")] == ["Example Ltd", "Other"]
    by_name = {one["first_name"]: one["company_id"] for one in await client.contacts()}
    assert by_name["A"] == by_name["D"] == known["id"]
    assert by_name["B"] == by_name["C"] != known["id"]


async def test_a_company_is_found_whose_name_python_has_otherwise_in_lower_case(
    client: Any,
) -> None:
    names = ["İstanbul A.Ş.", "ΟΔΟΣ", "Straße"]
    for of in "ABC":
        lines = "".join(f"{of},{name}\n" for name in names)
        await client.upload(f"first_name,company\n{lines}{lines}".encode())
    assert [told.name for told in client.told("CompanyCreated")] == names


async def test_an_address_of_a_row_that_is_refused_is_free_also_in_a_dry_run(client: Any) -> None:
    text = (
        "first_name,email,owner_id\n"
        "A,ada@example.com,nobody\n"
        "B,ada@example.com,\n"
        "C,ada@example.com,nobody\n"
        "D,ada@example.com,\n"
    )
    for policy, counts in (
        ("error", (1, 0, 0, 3)),
        ("skip", (1, 0, 1, 2)),
        ("update", (1, 1, 0, 2)),
    ):
        client.rows("truncate {t}.contacts")
        for dry_run in (True, False):
            said = await client.upload(text.encode(), on_duplicate=policy, dry_run=dry_run)
            found = [said.json()[kind] for kind in ("created", "updated", "skipped", "invalid")]
            assert tuple(found) == counts, (policy, dry_run)


async def test_the_same_file_is_imported_once_also_by_many_at_a_time(client: Any) -> None:
    file = f"{HEADER}{people(50)}".encode()
    answers = await asyncio.gather(*(client.upload(file) for _ in range(10)))
    later = await client.upload(file)
    again = await client.upload(file, again=True, on_duplicate="error")
    other = await client.upload(file, on_duplicate="skip")

    assert {one.status_code for one in answers} <= {200, 202}
    assert len({one.json()["id"] for one in [*answers, later]}) == 1
    assert later.json()["created"] == 50
    assert (again.json()["invalid"], other.json()["skipped"]) == (50, 50)
    assert client.rows("select count(*) from {t}.contacts") == [(50,)]
    assert len(client.told("ContactCreated")) == 50
    listed = await client.listed("/api/contacts/imports")
    assert [one["id"] for one in listed] == [one.json()["id"] for one in (other, again, later)]


async def test_a_larger_file_is_a_job_whose_progress_can_be_asked_for(
    client: Any, eventually: Any
) -> None:
    answer = await client.upload(f"{HEADER}{people(1600)}x,y,z\r\n".encode())
    assert (answer.status_code, answer.json()["status"]) == (202, "running")
    assert answer.json()["total"] == 1601
    seen = []

    async def over() -> bool:
        said = (await client.get(answer.headers["location"])).json()
        seen.append(said["processed"])
        return bool(said["status"] == "done")

    await eventually(over)
    assert seen == sorted(seen)
    said = (await client.get(answer.headers["location"])).json()
    assert (said["created"], said["invalid"], said["processed"]) == (1600, 1, 1601)
    assert client.rows("select count(*) from {t}.contacts") == [(1600,)]
    assert len(client.told("ContactCreated")) == 1600
    assert client.rows("select count(*) from {t}.import_rows") == [(1,)]
    actions = (await client.get("/api/contacts/audit", params={"entity": "import"})).json()
    assert [one["action"] for one in actions["items"]] == ["import.done", "import.started"]
    assert actions["items"][0]["actor"] == "user:u1"


async def test_an_import_that_never_goes_on_is_given_up(client: Any, eventually: Any) -> None:
    """Here its columns mean nothing any more: nobody can read it."""
    made = (await client.upload(f"{HEADER}{people(2)}".encode())).json()
    client.rows(
        "update {t}.imports set status = 'running', header = '[\"x\"]', line = 0"
        f" where id = '{made['id']}'"
    )
    client.rows(
        "insert into shared.contact_import_queue (id, tenant, due_at, attempts)"
        f" values ('{made['id']}', '{client.tenant}', now(), 10)"
    )

    async def failed() -> bool:
        said = (await client.get(f"/api/contacts/imports/{made['id']}")).json()
        return bool(said["status"] == "failed")

    await eventually(failed)
    said = (await client.get(f"/api/contacts/imports/{made['id']}")).json()
    assert said["error"] == "given up after 10 attempts"
    query = f"select count(*) from shared.contact_import_queue where id = '{made['id']}'"
    assert client.rows(query) == [(0,)]


async def test_waiting_for_a_tenant_or_for_another_service_is_no_attempt(
    client: Any, eventually: Any
) -> None:
    owner = client.auth.user()
    client.auth.failure = 503
    answer = await client.upload(f"first_name,owner_id\nAda,{owner}\n".encode())
    assert answer.status_code == 503
    [(which,)] = client.rows("select id from {t}.imports")
    query = f"from shared.contact_import_queue where id = '{which}'"

    async def was_looked_at() -> bool:
        return bool(client.rows(f"select 1 {query} and due_at > now() and attempts = 9") == [(1,)])

    async def is_done() -> bool:
        # The client of auth-service may not ask again at once, and nobody waits for a lease here.
        # What is worked on is locked, and waiting for it would keep it from going on.
        free = f"(select id {query} for update skip locked)"
        client.rows(f"update shared.contact_import_queue set due_at = now() where id in {free}")
        return bool(client.rows("select status from {t}.imports") == [("done",)])

    due = (
        "update shared.contact_import_queue set due_at = now(), attempts = {}"
        f" where id = '{which}'"
    )
    client.rows(due.format(9))
    await eventually(was_looked_at)
    client.auth.failure = None
    await suspend(client.place.owner, client.tenant, settings=client.place.migrate)
    client.rows(due.format(9))
    await eventually(was_looked_at)
    await resume(client.place.owner, client.tenant, settings=client.place.migrate)
    await eventually(is_done)


async def test_an_import_of_a_tenant_that_is_gone_is_forgotten(client: Any) -> None:
    client.rows(
        "insert into shared.contact_import_queue (id, tenant, due_at)"
        " values (gen_random_uuid(), 'never_was', now())"
    )
    worker = Worker(client.app.state.chassis, None)  # type: ignore[arg-type]  # nothing is asked of it
    while await worker.turn():
        pass
    query = "select count(*) from shared.contact_import_queue where tenant = 'never_was'"
    assert client.rows(query) == [(0,)]


async def test_a_spreadsheet_is_imported_with_the_types_of_its_cells(client: Any) -> None:
    for key, of in (("floor", "number"), ("vip", "boolean"), ("since", "date")):
        await client.field(key, of)
    file = io.BytesIO()
    book = xlsxwriter.Workbook(file)
    sheet = book.add_worksheet()
    day = book.add_format({"num_format": "yyyy-mm-dd"})
    sheet.write_row(0, 0, ["first_name", "phone", "custom.floor", "custom.vip", "custom.since"])
    sheet.write_row(1, 0, ["=1+1", 41791234567, 2.5, True])
    sheet.write_string(1, 0, "=1+1")
    sheet.write_number(1, 4, 45000, day)
    sheet.write_row(3, 0, ["", "", "x"])
    book.close()
    answer = await client.upload(file.getvalue(), "contacts.xlsx")

    said = answer.json()
    assert (said["format"], said["created"], said["invalid"]) == ("xlsx", 1, 1)
    found = (await client.get(f"{answer.headers['location']}/errors")).json()
    assert found["items"][0]["line"] == 4
    (one,) = await client.contacts()
    assert (one["first_name"], one["phone"]) == ("=1+1", "41791234567")
    assert one["custom"] == {"floor": 2.5, "vip": True, "since": "2023-03-15"}


@pytest.mark.parametrize(
    ("file", "status", "code"),
    [
        (b"", 422, "IMPORT_UNREADABLE"),
        (b"\n\n", 422, "IMPORT_UNREADABLE"),
        (b"shoe,size\n1,2\n", 422, "IMPORT_COLUMNS_UNKNOWN"),
        (b"email,E-Mail\n1,2\n", 422, "IMPORT_COLUMNS_UNKNOWN"),
        (b"email\n\x81\xff\n", 422, "IMPORT_UNREADABLE"),
        (b"\xff\xfee\x00m\x00a", 422, "IMPORT_UNREADABLE"),
        (b"email\n" + b"x" * 20_000, 422, "IMPORT_UNREADABLE"),
        (b'email\n"' + b"x\n" * 200_000, 422, "IMPORT_UNREADABLE"),
        (b"email" + b"," * 300, 413, "IMPORT_TOO_LARGE"),
        pytest.param(
            b"email\n" + b"a\n" * 200_001, 413, "IMPORT_TOO_LARGE", marks=pytest.mark.slow
        ),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 415, "IMPORT_FORMAT_UNKNOWN"),
        (b"PK\x03\x04 and then nothing", 422, "IMPORT_UNREADABLE"),
        (b"\x00" * (20 * 1024 * 1024 + 1), 413, "IMPORT_TOO_LARGE"),
        (b"\x00" * (21 * 1024 * 1024), 413, "BODY_TOO_LARGE"),
    ],
    ids=range(14),
)
async def test_a_file_that_cannot_be_read_is_refused_as_a_whole(
    client: Any, file: bytes, status: int, code: str
) -> None:
    answer = await client.upload(file)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert client.rows("select count(*) from {t}.imports") == [(0,)]


async def test_more_rows_than_are_taken_at_once_leave_nothing(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_file, "MOST_ROWS", 1500)
    answer = await client.upload(f"{HEADER}{people(1501)}".encode())
    assert (answer.status_code, answer.json()["code"]) == (413, "IMPORT_TOO_LARGE")
    assert client.rows("select count(*) from {t}.import_rows") == [(0,)]


async def test_the_name_of_a_company_is_one_line_of_text(client: Any) -> None:
    lines = f"A,a\x01b\nB,{'x' * 201}\nC,Good\n"
    answer = await client.upload(f"first_name,company\n{lines}".encode())
    assert (answer.json()["created"], answer.json()["invalid"]) == (1, 2)
    errors = (await client.get(f"{answer.headers['location']}/errors")).json()["items"]
    assert [(one["line"], one["field"]) for one in errors] == [(2, "company"), (3, "company")]


@pytest.mark.parametrize(
    ("encoding", "params"),
    [
        ("utf-8", {}),
        ("utf-8-sig", {}),
        ("utf-16", {}),
        ("cp1252", {}),
        ("latin-1", {"encoding": "latin-1"}),
        ("utf-16-le", {"encoding": "utf-16-le"}),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
async def test_encodings_and_delimiters_are_found_out_or_said(
    client: Any, encoding: str, params: dict[str, str], delimiter: str
) -> None:
    text = 'first_name,last_name,email\n"Zoë",Müller,zoe@example.com\n'.replace(",", delimiter)
    answer = await client.upload(text.encode(encoding), **params)
    assert answer.status_code == 200, answer.text
    (one,) = await client.contacts()
    assert one["name"] == "Zoë Müller"


async def test_a_cell_with_a_nul_is_a_bad_cell_and_not_a_bad_file(client: Any) -> None:
    answer = await client.upload(b"email,first_name\nada@example.com,Ada\n\0,Grace\n")

    assert (answer.status_code, answer.json()["created"], answer.json()["invalid"]) == (200, 1, 1)
    [error] = (await client.get(f"{answer.headers['location']}/errors")).json()["items"]
    assert (error["line"], error["field"], error["value"]) == (3, "email", "\ufffd")


async def test_a_delimiter_is_found_behind_blank_lines(client: Any) -> None:
    answer = await client.upload(b"\xef\xbb\xbf\r\n\r\nfirst_name;last_name\r\nAda;Lovelace\r\n")
    assert (answer.status_code, answer.json()["created"]) == (200, 1)


async def test_the_name_of_a_file_is_anything(client: Any) -> None:
    """The parser of forms lets none with U+0000 pass today; who calls it otherwise might."""
    chassis = client.app.state.chassis
    tenant, who = chassis.tenant(client.tenant), Principal("u1", client.tenant)
    files = ImportFiles(
        tenant, who, AuditTrail(chassis.settings.service, "user:u1", None), asyncio.Semaphore()
    )
    file = io.BytesIO(b"first_name\nAda\n")
    made, _ = await files.take(file, "a\0b" + "c" * 300, Options(), again=False)
    assert made.filename == "ab" + "c" * 253
    [entry] = (await client.get("/api/contacts/audit", params={"entity": "import"})).json()["items"]
    assert entry["after"]["filename"] == made.filename
