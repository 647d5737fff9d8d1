from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mtenant_devstack import __main__ as cli
from mtenant_devstack import record
from mtenant_devstack.__main__ import main
from mtenant_devstack.process import Process, descendants

Crm = Callable[..., subprocess.Popen[str]]
Eventually = Callable[[Callable[[], object]], None]
Left = Callable[[], list[object]]
Gone = Callable[[list[Process]], bool]
VARIABLES = ("DATABASE_URL", "NATS_URL", "REDIS_URL")


@pytest.fixture(autouse=True)
def _own_servers(open_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    # The services have tests of their own; this is what somebody sees who has installed none.
    monkeypatch.setattr(cli, "installed", list)


def read_urls(process: subprocess.Popen[str]) -> dict[str, str]:
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in VARIABLES]
    found = [re.fullmatch(r"export (\w+)=(\S+)\n", line) for line in lines]
    assert all(found), [*lines, process.stderr.read() if process.stderr else ""]
    return {m[1]: m[2] for m in found if m}


def test_up_prints_urls_that_a_shell_can_read_and_ends_on_sigterm(crm: Crm, left: Left) -> None:
    process = crm("up")
    assert [*read_urls(process)] == [*VARIABLES]

    process.terminate()

    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert "stopped" in err
    assert left() == []


def test_ctrl_c_in_a_terminal_stops_everything(crm: Crm, left: Left) -> None:
    process = crm("up")
    read_urls(process)

    os.killpg(process.pid, signal.SIGINT)  # a terminal signals the whole foreground group

    process.communicate(timeout=30)
    assert process.returncode == 0
    assert left() == []


def test_kill_9_leaves_no_process_and_no_directory(
    crm: Crm, left: Left, gone: Gone, eventually: Eventually
) -> None:
    process = crm("up")
    read_urls(process)
    everybody = descendants(process.pid)
    assert len(everybody) > 8  # the watcher, three servers, and PostgreSQL's own processes

    process.kill()

    eventually(lambda: gone(everybody))
    eventually(lambda: left() == [])


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        *itertools.product(
            ["mtenant-devstack-run-*", "*/initdb.log", "*/*/data", "*/*/*"],
            [signal.SIGTERM, signal.SIGKILL],
        ),
        ("*/initdb.log", signal.SIGINT),
        ("*/initdb.log", signal.SIGHUP),
    ],
)
def test_an_end_in_the_middle_of_the_start_leaves_nothing(  # noqa: PLR0917 -- fixtures
    number: int, moment: str, crm: Crm, left: Left, eventually: Eventually, open_tmp: Path
) -> None:
    process = crm("up")
    eventually(lambda: [*open_tmp.glob(moment)])

    os.kill(process.pid, number)

    process.communicate(timeout=30)
    eventually(lambda: left() == [])


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_signal_that_the_caller_ignores_stays_ignored() -> None:
    script = 'trap "" HUP; exec "$0" -m mtenant_devstack up'
    with subprocess.Popen(
        ["/bin/sh", "-c", script, sys.executable], stdout=subprocess.PIPE, text=True
    ) as process:
        read_urls(process)
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.terminate()

    ignored = re.search(r"^SigIgn:\t(\w+)$", status, re.MULTILINE)
    assert ignored
    assert int(ignored[1], 16) & 1 << signal.SIGHUP - 1
    assert process.returncode == 0


def test_ctrl_c_twice_during_the_start_leaves_nothing(
    crm: Crm, left: Left, eventually: Eventually, open_tmp: Path
) -> None:
    process = crm("up")
    eventually(lambda: [*open_tmp.glob("*/initdb.log")])

    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGINT)

    process.communicate(timeout=30)
    assert process.returncode in (130, -signal.SIGINT)
    eventually(lambda: left() == [])


def test_an_interrupted_first_start_leaves_data_that_the_next_start_takes(
    crm: Crm, eventually: Eventually, open_tmp: Path
) -> None:
    data = open_tmp / "data"
    process = crm("up", "--data", str(data))
    eventually(lambda: [*data.glob("new-postgres-*/data/PG_VERSION")])
    process.kill()
    process.communicate(timeout=30)
    eventually(lambda: not [*data.glob("new-*")])

    again = crm("up", "--data", str(data))
    assert read_urls(again)


def test_down_stops_an_up_and_then_finds_nothing(
    crm: Crm, left: Left, capsys: pytest.CaptureFixture[str]
) -> None:
    process = crm("up")
    read_urls(process)
    threading.Thread(target=process.wait).start()  # else a zombie has our pid

    assert main(["down"]) == 0
    assert f"stopped pid {process.pid}" in capsys.readouterr().err
    assert left() == []
    for _ in range(2):
        assert main(["down"]) == 0
        assert "nothing runs" in capsys.readouterr().err


def test_down_signals_no_process_that_only_got_the_pid_of_an_up(open_tmp: Path) -> None:
    run = open_tmp / "mtenant-devstack-run-stale"
    run.mkdir()
    record.write(run)
    [mine] = record.running()
    assert mine.pid == os.getpid()

    content = (run / record.NAME).read_text().replace(mine.started, mine.started + "0")
    (run / record.NAME).write_text(content)

    assert list(record.running()) == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pid": "x", "started": ""}', "\0"])
def test_down_ignores_a_record_that_makes_no_sense(content: str, open_tmp: Path) -> None:
    run = open_tmp / "mtenant-devstack-run-odd"
    run.mkdir()
    (run / record.NAME).write_text(content)

    assert list(record.running()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file that another user owns")
def test_down_believes_no_record_of_another_user(open_tmp: Path) -> None:
    run = open_tmp / "mtenant-devstack-run-other"
    run.mkdir()
    record.write(run)
    assert list(record.running())

    os.chown(run, 65534, 65534)

    assert list(record.running()) == []


def test_down_says_when_an_up_does_not_stop(
    open_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(record, "GRACE", 0.05)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    program = f"{deaf}; from mtenant_devstack import record; from pathlib import Path; "
    program += f"record.write(Path({str(open_tmp / 'mtenant-devstack-run-deaf')!r})); print(1); "
    (open_tmp / "mtenant-devstack-run-deaf").mkdir()
    with subprocess.Popen(
        [sys.executable, "-uc", program + "signal.pause()"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"

        assert main(["down"]) == 1

        assert f"pid {process.pid}) has not stopped" in capsys.readouterr().err
        process.kill()


def test_up_uses_the_servers_that_the_environment_names(
    left: Left, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in VARIABLES:
        monkeypatch.setenv(variable, f"x://{variable}.example.com")

    stop_when_up(lambda: main(["up"]))

    urls = "".join(f"export {name}=x://{name}.example.com\n" for name in VARIABLES)
    assert capsys.readouterr().out == urls
    assert left() == []


def test_up_with_ports_and_data_is_durable(
    left: Left, open_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in VARIABLES[:2]:
        monkeypatch.setenv(variable, "x://example.com")

    stop_when_up(lambda: main(["up", "--data", str(open_tmp / "data"), "--valkey-port", "16379"]))

    assert [*(open_tmp / "data" / "valkey").glob("appendonlydir/*")]
    assert left() == []


def test_a_directory_that_cannot_be_made_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    for data in (tmp_path / "file" / "data", tmp_path / "file"):
        assert main(["up", "--data", str(data)]) == 1
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith(f"crm: {data} cannot be used for data (")


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_a_port_that_is_none_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["up", "--nats-port", port])
    assert f"a port is a number from 1 to 65535, not '{port}'" in capsys.readouterr().err


def test_up_ends_with_an_error_when_a_server_dies(crm: Crm, left: Left) -> None:
    process = crm("up", DATABASE_URL="x://example.com", NATS_URL="x://example.com")
    read_urls(process)
    [valkey] = [p for p in descendants(process.pid) if b"valkey-server" in command(p)]

    os.kill(valkey.pid, signal.SIGKILL)

    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "Valkey ended with status -9" in err
    assert left() == []


def command(process: Process) -> bytes:
    return Path(f"/proc/{process.pid}/cmdline").read_bytes()


def stop_when_up(run: Callable[[], int]) -> None:
    """Run `crm up` in this process, and send it SIGTERM once it waits."""
    waits = threading.Event()
    note = cli._note

    def tell(line: str) -> None:
        note(line)
        if "up, " in line:
            waits.set()

    def stop() -> None:
        assert waits.wait(30)
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cli, "_note", tell)
        stopper.start()
        assert run() == 0
        stopper.join(30)


def test_demo_speaks_to_each_server_and_runs_scripts_against_them(
    left: Left, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os\nassert all(os.environ[v] for v in ('NATS_URL', 'REDIS_URL'))\n")

    assert main(["demo", str(script)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [bool(re.match(r"ok +\d+\.\d\d s  ", line)) for line in lines] == [True] * 5
    for line, words in zip(lines, ("start", "PostgreSQL: 18", "NATS", "Valkey", "py"), strict=True):
        assert words in line
    assert left() == []


@pytest.mark.parametrize(
    ("script", "words"),
    [("raise SystemExit('no luck')", "no luck"), (None, "there is no such file")],
)
def test_demo_names_the_script_that_failed_and_why(
    script: str | None,
    words: str,
    left: Left,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "story.py"
    if script is not None:
        path.write_text(script)

    assert main(["demo", str(path)]) == 1

    assert re.search(rf"(?s)crm: {path}: .*{words}", capsys.readouterr().err)
    assert left() == []


def test_demo_says_how_to_get_a_missing_driver(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)

    assert main(["demo"]) == 1

    advice = "crm: Valkey: redis is not installed: pip install 'mtenant-devstack[demo]'\n"
    assert capsys.readouterr().err == advice


def test_demo_names_a_server_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:1")

    assert main(["demo"]) == 1

    assert capsys.readouterr().err.startswith("crm: NATS: ")


def test_demo_ends_its_script_when_it_is_killed(
    crm: Crm, left: Left, tmp_path: Path, eventually: Eventually, gone: Gone
) -> None:
    script, up = tmp_path / "script.py", tmp_path / "up"
    script.write_text(f"import signal; open({str(up)!r}, 'w'); signal.pause()")
    process = crm("demo", str(script))
    eventually(up.exists)
    everybody = descendants(process.pid)
    assert len(everybody) > 12  # servers, services, the script

    process.kill()

    eventually(lambda: gone(everybody))
    eventually(lambda: left() == [])
