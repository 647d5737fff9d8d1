"""Every line is written or counted, and nobody waits for a reader who does not read."""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtenant_logger import Logger, Stats
from mtenant_logger.descriptor import Descriptor
from mtenant_logger.levels import CRITICAL, DEBUG, ERROR, INFO, NAMES, WARNING
from mtenant_logger.line import Lines
from mtenant_logger.pipeline import Pipeline
from mtenant_logger.writer import Counts, Writer

Strict = Callable[[bytes], dict[str, Any]]
LINE = b"x" * 999 + b"\n"


def announce(dropped: Counts) -> bytes:
    return f"notice {sum(dropped.values())}\n".encode()


def total(counts: Counts) -> int:
    return sum(counts.values())


def read_until_empty(reader: int, writer: Writer) -> bytes:
    """Read while the writer flushes, until it has nothing left."""
    parts: list[bytes] = []
    done = threading.Event()

    def read() -> None:
        while True:
            ready, _, _ = select.select([reader], [], [], 0.01)
            if ready and (part := os.read(reader, 1 << 16)):
                parts.append(part)
            elif done.is_set():
                return

    thread = threading.Thread(target=read)
    thread.start()
    assert writer.flush(30)
    done.set()
    thread.join(30)
    return b"".join(parts)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Kill the process's patience: fail if the block hangs, which a test must never do."""

    def give_up(*_: object) -> None:
        raise AssertionError(f"it waited for longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_line_is_in_the_pipe_when_the_call_returns(pipe: Any) -> None:
    writer = Writer(pipe.writer)
    writer.write(INFO, b"one\n")
    writer.write(ERROR, b"two\n")

    assert pipe.read() == b"one\ntwo\n"
    assert writer.stats().written == {**dict.fromkeys(NAMES.values(), 0), "info": 1, "error": 1}


def test_nothing_is_opened_before_the_first_line() -> None:
    assert Writer(-1)._descriptor is None


def test_a_stalled_pipe_delays_nobody_and_every_line_is_written_or_counted(pipe: Any) -> None:
    filler = pipe.stall()
    writer = Writer(pipe.writer, notice=announce, backlog=50_000, reserve=20_000)
    with within(20):
        for _ in range(60):
            writer.write(INFO, LINE)
        for _ in range(30):
            writer.write(WARNING, LINE)
        writer.write(DEBUG, LINE)
        assert not writer.flush(0.05)

    stats = writer.stats()
    assert (stats.queued["info"], stats.dropped["info"]) == (50, 10)
    assert (stats.queued["warning"], stats.dropped["warning"]) == (20, 10)
    assert stats.dropped["debug"] == 1
    assert total(stats.submitted) == 91

    read = read_until_empty(pipe.reader, writer)
    assert read[filler:] == LINE * 70 + b"notice 21\n"
    assert total(writer.stats().written) == 70
    assert total(writer.stats().dropped) == 21


def test_by_default_8_mib_may_wait_and_8_mib_more_of_warnings_and_above(pipe: Any) -> None:
    pipe.stall()
    writer = Writer(pipe.writer)
    line = b"x" * (64 * 1024 - 1) + b"\n"
    with within(20):
        for level in (DEBUG, INFO, WARNING, ERROR):
            for _ in range(100):
                writer.write(level, line)

    stats = writer.stats()
    waiting = [stats.queued[name] for name in ("debug", "info", "warning", "error")]
    assert waiting == [100, 28, 100, 28]
    assert total(stats.dropped) == 400 - 256


def test_the_flags_of_a_shared_descriptor_stay_as_they_are(pipe: Any) -> None:
    pipe.stall()
    writer = Writer(pipe.writer)
    writer.write(INFO, LINE)

    assert os.get_blocking(pipe.writer)
    writer.close(0)


def test_after_a_stall_lines_are_written_at_once_again_and_no_thread_is_left(pipe: Any) -> None:
    pipe.stall()
    writer = Writer(pipe.writer)
    writer.write(INFO, LINE)
    thread = writer._thread
    assert thread is not None
    read = pipe.read()
    thread.join(30)
    assert (read + pipe.read()).endswith(b"-" + LINE)
    writer.write(INFO, b"at once\n")

    assert pipe.read() == b"at once\n"
    assert writer._thread is None


@pytest.mark.parametrize("reopen", [True, False], ids=["own open file", "poll"])
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(sizes=st.lists(st.integers(1, 70_000), max_size=25))
def test_lines_of_any_length_arrive_whole_and_in_order_through_a_slow_pipe(
    reopen: bool, sizes: list[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if not reopen:
            patch.setattr(os, "open", refuse_to_open)
        reader, number = os.pipe()
        writer = Writer(number)
        lines = [bytes([65 + i % 26]) * (size - 1) + b"\n" for i, size in enumerate(sizes)]
        for line in lines:
            writer.write(INFO, line)
        read = read_until_empty(reader, writer)
        writer.close()
        os.close(reader)
        os.close(number)

    assert read == b"".join(lines)
    assert writer.stats().written["info"] == len(lines)


def refuse_to_open(*_: object) -> int:
    raise OSError(errno.EACCES, "no /proc here")


def test_without_proc_a_stalled_pipe_delays_nobody_either(
    pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", refuse_to_open)
    pipe.stall()
    writer = Writer(pipe.writer)
    with within(20):
        writer.write(INFO, LINE)
        assert not writer.flush(0.05)

    assert writer.stats().queued["info"] == 1
    writer.close(0)


def test_a_reader_that_is_gone_costs_counted_drops(pipe: Any) -> None:
    writer = Writer(pipe.writer, notice=announce)
    writer.write(INFO, b"one\n")
    pipe.close_reader()
    for _ in range(5):
        writer.write(ERROR, LINE)

    assert writer.stats().dropped["error"] == 5
    assert writer.flush(1)


def test_a_reader_that_goes_while_lines_wait_costs_counted_drops(pipe: Any) -> None:
    pipe.stall()
    writer = Writer(pipe.writer, notice=announce)
    for _ in range(5):
        writer.write(INFO, LINE)
    pipe.close_reader()

    assert writer.flush(30)
    assert writer.stats().dropped["info"] == 5
    assert total(writer.stats().queued) == 0


def test_a_descriptor_that_is_not_open_costs_counted_drops() -> None:
    reader, number = os.pipe()
    os.close(reader)
    os.close(number)
    writer = Writer(number)
    writer.write(INFO, LINE)

    assert writer.stats().dropped["info"] == 1
    assert writer.flush(1)


def test_a_number_that_is_closed_and_given_to_another_file_gets_no_line(
    pipe: Any, tmp_path: Path
) -> None:
    number = os.dup(pipe.writer)
    writer = Writer(number)
    writer.open()
    os.close(number)
    other = os.open(tmp_path / "database", os.O_WRONLY | os.O_CREAT)
    assert other == number
    writer.write(INFO, b"line\n")
    os.close(other)

    assert (tmp_path / "database").read_bytes() == b""
    assert pipe.read() == b"line\n"


def test_a_socket_is_written_to_without_waiting() -> None:
    ours, theirs = socket.socketpair()
    writer = Writer(ours.fileno(), notice=announce, backlog=20_000, reserve=0)
    with within(20):
        while not total(writer.stats().dropped):
            writer.write(INFO, LINE)
    assert ours.getblocking()
    stats = writer.stats()
    read = read_until_empty(theirs.fileno(), writer)

    lines = read.splitlines(keepends=True)
    assert lines[-1].startswith(b"notice")
    assert lines[:-1] == [LINE] * (stats.written["info"] + stats.queued["info"])
    writer.close()
    ours.close()
    theirs.close()


def test_a_terminal_is_written_to_without_waiting() -> None:
    ours, theirs = os.openpty()
    writer = Writer(theirs, backlog=20_000, reserve=0)
    with within(20):
        while not total(writer.stats().dropped):
            writer.write(INFO, LINE)

    assert os.read(ours, 10) == b"x" * 10
    writer.close(0)
    os.close(ours)
    os.close(theirs)


def test_a_full_disk_costs_counted_drops_and_no_line_is_glued_to_half_of_another(
    tmp_path: Path,
) -> None:
    # RLIMIT_FSIZE makes a write past the limit short first, and then fail, as a full disk does.
    program = f"""
import os, resource, signal
from mtenant_logger.writer import Writer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
number = os.open({str(tmp_path / "log")!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
writer = Writer(number, notice=lambda dropped: b"notice\\n")
resource.setrlimit(resource.RLIMIT_FSIZE, (250, resource.RLIM_INFINITY))
for _ in range(4):
    writer.write(20, b"x" * 99 + b"\\n")
    writer.flush(5)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.write(20, b"after\\n")
assert writer.flush(5)
stats = writer.stats()
print(stats.written["info"], stats.dropped["info"])
"""
    done = run(program)

    assert done.stdout.split() == ["3", "2"]
    lines = (tmp_path / "log").read_bytes().splitlines()
    whole = [line for line in lines if line in {b"x" * 99, b"after", b"notice"}]
    assert whole.count(b"x" * 99) == 2
    assert whole[-2:] in [[b"after", b"notice"], [b"notice", b"after"]]
    assert len(lines) - len(whole) == 1  # the half line, alone


def run(program: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # our own program
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        **options,
    )


def test_many_threads_write_whole_lines_and_every_call_is_counted(
    pipe: Any, strict: Strict
) -> None:
    lines = Lines("test")
    writer = Writer(pipe.writer, notice=lines.notice, backlog=30_000, reserve=10_000)
    log = Logger("test", Pipeline(lines, writer, DEBUG))
    threads, calls = 8, 200

    def work(who: int) -> None:
        for n in range(calls):
            (log.info if n % 2 else log.warning)("m", who=who, n=n, pad="." * (n * 7 % 900))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    read = read_until_empty(pipe.reader, writer)

    records = [strict(line) for line in read.splitlines(keepends=True)]
    own = [record for record in records if record["message"] == "m"]
    stats = writer.stats()
    assert stats.submitted["info"] == stats.submitted["warning"] == threads * calls / 2
    assert len(own) == total(stats.written)
    for who in range(threads):
        order = [record["n"] for record in own if record["who"] == who]
        assert order == sorted(order)
    notices = [record["dropped"] for record in records if "dropped" in record]
    for level in ("info", "warning"):
        assert sum(notice.get(level, 0) for notice in notices) == stats.dropped[level]


def test_a_signal_handler_that_logs_amid_a_write_does_not_hang_or_tear_a_line(pipe: Any) -> None:
    writer = Writer(pipe.writer)
    writer.open()
    real = writer._send
    inner: list[bool] = []

    def send(data: bytes) -> int:
        half = real(data[: len(data) // 2])
        if not inner:  # a handler runs between the two halves, on this thread
            inner.append(True)
            writer.write(WARNING, b"from the handler\n")
            assert not writer.flush(5)
        return half

    writer._send = send
    with within(20):
        writer.write(INFO, b"from the program\n")
        writer._send = real
        assert writer.flush(10)

    assert pipe.read() == b"from the program\nfrom the handler\n"
    assert total(writer.stats().written) == 2


def test_a_ctrl_c_amid_a_write_leaves_a_writer_that_works(pipe: Any) -> None:
    writer = Writer(pipe.writer)
    writer.open()
    real = writer._send

    def interrupted(data: bytes) -> int:
        raise KeyboardInterrupt

    writer._send = interrupted
    with pytest.raises(KeyboardInterrupt):
        writer.write(INFO, LINE)
    writer._send = real
    writer.write(INFO, b"next\n")
    assert writer.flush(10)

    assert pipe.read() == b"next\n"


def test_a_fork_writes_no_line_twice_and_counts_from_zero(pipe: Any) -> None:
    filler = pipe.stall()
    writer = Writer(pipe.writer, notice=announce)
    for n in range(20):
        writer.write(INFO, b"parent %d\n" % n)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            clean = total(writer.stats().submitted) == 0
            writer.write(INFO, b"child\n")
            status = 0 if clean and writer.flush(30) and total(writer.stats().written) == 1 else 2
        finally:
            os._exit(status)
    read = read_until_empty(pipe.reader, writer)
    _, status = os.waitpid(child, 0)
    read += pipe.read()

    assert os.waitstatus_to_exitcode(status) == 0
    lines = read[filler:].splitlines()
    assert sorted(lines) == sorted([b"child", *(b"parent %d" % n for n in range(20))])


def test_a_fork_while_other_threads_write_leaves_a_child_that_can_log(tmp_path: Path) -> None:
    program = f"""
import os, threading
from mtenant_logger.writer import Writer
number = os.open({str(tmp_path / "log")!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
writer = Writer(number)
done = threading.Event()
def work():
    while not done.is_set():
        writer.write(20, b"parent\\n")
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads: thread.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        writer.write(20, b"child\\n")
        os._exit(0 if writer.flush(5) else 1)
    assert os.waitpid(child, 0)[1] == 0
done.set()
for thread in threads: thread.join()
print(writer.stats().written["info"])
"""
    done = run(program)

    lines = (tmp_path / "log").read_bytes().splitlines()
    assert lines.count(b"child") == 20
    assert lines.count(b"parent") == int(done.stdout)


SERVICE = """
import os, sys
from mtenant_logger import LoggerConfig, configure, get_logger
configure(LoggerConfig(service="svc"))
log = get_logger("svc")
for n in range(3000):
    log.info("line", n=n, pad="." * 100)
print("logged", file=sys.stderr, flush=True)
"""


@pytest.mark.parametrize(("end", "status"), [("", 0), ("log.fatal('end', err=ValueError('x'))", 1)])
def test_at_the_end_a_slow_reader_still_gets_every_line(
    strict: Strict, end: str, status: int
) -> None:
    process = subprocess.Popen(  # our own program
        [sys.executable, "-W", "error", "-c", SERVICE + end],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stderr.readline() == b"logged\n"  # most of it waits in the backlog by now
    read = process.stdout.read()
    process.stdout.close()
    process.stderr.close()

    assert process.wait(60) == status
    records = [strict(line) for line in read.splitlines(keepends=True)]
    assert [record["n"] for record in records if record["message"] == "line"] == list(range(3000))
    assert (records[-1]["message"] == "end") == bool(end)
    if end:
        assert records[-1]["level"] == "critical"
        assert records[-1]["error"]["message"] == "x"


@pytest.mark.parametrize(("end", "status"), [("", 0), ("log.fatal('end')", 1)])
def test_at_the_end_nobody_waits_for_ever_for_a_reader_that_never_reads(
    end: str, status: int
) -> None:
    process = subprocess.Popen(  # our own program
        [sys.executable, "-W", "error", "-c", SERVICE + end],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.wait(30) == status
    finally:
        process.kill()
        assert process.stdout is not None
        process.stdout.close()
        process.wait()


def test_a_program_whose_standard_output_is_closed_runs_all_the_same() -> None:
    program = (
        SERVICE
        + "from mtenant_logger import stats; print(stats().dropped['info'], file=sys.stderr)"
    )

    done = run(program, preexec_fn=lambda: os.close(1))

    assert done.stderr.split() == ["logged", "3000"]


def test_a_notice_that_cannot_be_made_costs_no_line(pipe: Any) -> None:
    def broken(dropped: Counts) -> bytes:
        raise RuntimeError

    writer = Writer(pipe.writer, notice=broken)
    writer.lose(INFO)
    writer.write(INFO, b"line\n")
    assert writer.flush(10)

    assert pipe.read() == b"line\n"


def test_a_reader_that_is_always_late_hears_of_drops_before_it_catches_up(pipe: Any) -> None:
    writer = Writer(pipe.writer, notice=announce, backlog=3000, reserve=0)
    filler = pipe.stall()
    for _ in range(10):
        writer.write(INFO, LINE)
    assert writer.stats().queued["info"] == 3
    writer._next_notice = 0.0
    read = b""
    with within(30):
        while b"notice" not in read:
            read += pipe.read()
            writer.write(INFO, LINE)  # so that the backlog is never empty
            time.sleep(0)

    assert b"notice" in read[filler:]
    writer.close(0)


def test_where_no_thread_can_be_started_flush_writes_the_backlog(
    pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pipe.stall()
    writer = Writer(pipe.writer)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    writer.write(INFO, b"line\n")
    pipe.read()

    assert writer.flush(10)
    assert pipe.read() == b"line\n"


def test_what_is_left_when_a_writer_is_closed_counts_as_dropped(pipe: Any) -> None:
    pipe.stall()
    writer = Writer(pipe.writer, notice=announce)
    for level in NAMES:
        writer.write(level, LINE)
    writer.close(0)
    writer.write(CRITICAL, LINE)

    assert writer.stats() == Stats(
        written=dict.fromkeys(NAMES.values(), 0),
        dropped={**dict.fromkeys(NAMES.values(), 1), "critical": 2},
        queued=dict.fromkeys(NAMES.values(), 0),
    )


def test_a_descriptor_says_when_there_is_no_room(pipe: Any) -> None:
    pipe.stall()
    descriptor = Descriptor(pipe.writer)
    with pytest.raises(BlockingIOError):
        descriptor.write(b"x")
    with within(20):
        descriptor.wait(0.01)
        pipe.read()
        descriptor.wait(10)

    assert descriptor.write(b"x") == 1
    descriptor.close()


def test_the_address_space_of_a_stalled_program_stays_bounded() -> None:
    program = """
import os, resource
from mtenant_logger import LoggerConfig, configure, get_logger, stats
reader, writer = os.pipe()
configure(LoggerConfig(service="svc", fd=writer))
log = get_logger("svc")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(40_000):
    log.warning("stalled", pad="." * 2000)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
counts = stats()
assert counts.submitted["warning"] == 40_000
assert counts.dropped["warning"] > 25_000
print(grown)
os.close(reader)
"""
    assert int(run(program).stdout) < 40 * 1024  # KiB; the backlog and the reserve are 16 MiB


def test_the_limit_of_open_files_does_not_stop_a_program(pipe: Any) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    try:
        with pytest.raises(OSError, match="Too many"):  # noqa: PT012  # the loop ends by it
            while True:
                held.append(os.dup(pipe.writer))
        writer = Writer(pipe.writer)
        writer.write(INFO, LINE)
    finally:
        for number in held:
            os.close(number)

    assert writer.stats().dropped["info"] == 1
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_processes_that_share_a_stalled_pipe_do_not_wait_and_tear_no_line(strict: Strict) -> None:
    # Between asking whether there is room and writing, another process may take it: with O_NONBLOCK
    # on an open file of our own there is no such moment.
    program = """
import sys
from mtenant_logger import LoggerConfig, configure, get_logger
configure(LoggerConfig("svc"))
for n in range(500):
    get_logger("x").info("m", who=sys.argv[1], n=n, pad="." * (n * 13 % 1500))
print("logged", file=sys.stderr, flush=True)
"""
    reader, number = os.pipe()
    processes = [
        subprocess.Popen(  # our own program
            [sys.executable, "-c", program, str(who)], stdout=number, stderr=subprocess.PIPE
        )
        for who in range(3)
    ]
    os.close(number)
    try:
        for process in processes:
            assert process.stderr is not None
            ready, _, _ = select.select([process.stderr], [], [], 60)
            assert ready, "it waits for a reader"
            assert process.stderr.readline() == b"logged\n"
        with open(reader, "rb") as pipe:
            records = [strict(line) for line in pipe]
        assert [process.wait(60) for process in processes] == [0, 0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
            assert process.stderr is not None
            process.stderr.close()

    for who in "012":
        assert [record["n"] for record in records if record["who"] == who] == list(range(500))
