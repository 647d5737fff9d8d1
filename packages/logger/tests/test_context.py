"""What a line says about its request follows the request, and nothing else."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from mtenant_logger import current_request_id, log_context, wrap_context
from mtenant_logger.testing import RecordingLogger
from mtenant_logger.trace import parse_traceparent


def test_an_inner_context_adds_to_the_outer_one_and_ends() -> None:
    log = RecordingLogger()
    with log_context(request_id="r", tenant_id="acme", user_id="u"):
        with log_context(tenant_id="other", step=1):
            log.info("inner")
        log.info("outer")
    log.info("outside")

    inner, outer, outside = log.records
    assert (inner["request_id"], inner["tenant_id"], inner["user_id"], inner["step"]) == (
        "r",
        "other",
        "u",
        1,
    )
    assert (outer["tenant_id"], "step" in outer) == ("acme", False)
    assert not {"request_id", "tenant_id", "user_id"} & set(outside)


def test_one_process_can_host_several_services() -> None:
    log = RecordingLogger(service="one")
    with log_context(service="two"):
        log.info("m")
    log.info("m")

    assert [record["service"] for record in log.records] == ["two", "one"]


def test_tasks_never_see_each_others_context() -> None:
    log = RecordingLogger()

    async def handle(n: int) -> None:
        with log_context(request_id=f"r{n}"):
            for _ in range(5):
                await asyncio.sleep(0)
                log.info("m", n=n)
                assert current_request_id() == f"r{n}"

    async def main() -> None:
        await asyncio.gather(*(handle(n) for n in range(20)))

    asyncio.run(main())

    assert len(log.records) == 100
    assert all(record["request_id"] == f"r{record['n']}" for record in log.records)


def test_a_thread_gets_the_context_by_wrap_context_also_many_at_once() -> None:
    barrier = threading.Barrier(4, timeout=30)

    def work(n: int) -> tuple[int, str | None]:
        barrier.wait()
        return n, current_request_id()

    with ThreadPoolExecutor(4) as pool:
        with log_context(request_id="r"):
            wrapped = wrap_context(work)
        with_context = list(pool.map(wrapped, range(4)))
        without = list(pool.map(work, range(4)))

    assert with_context == [(n, "r") for n in range(4)]
    assert without == [(n, None) for n in range(4)]
    assert wrapped.__name__ == "work"
    assert current_request_id() is None


def test_a_generator_that_ends_in_another_context_does_not_fail() -> None:
    def dependency() -> Iterator[None]:
        with log_context(request_id="r"):
            yield

    generator = dependency()
    contextvars.copy_context().run(lambda: next(generator))
    contextvars.copy_context().run(lambda: next(generator, None))

    assert current_request_id() is None


def test_a_context_can_be_entered_again() -> None:
    context = log_context(request_id="r")
    with context, context:
        assert current_request_id() == "r"
    with context:
        assert current_request_id() == "r"

    assert current_request_id() is None


def test_the_ids_come_from_opentelemetry_once_it_is_there() -> None:
    program = """
import sys
from mtenant_logger import log_context
from mtenant_logger.testing import RecordingLogger
log = RecordingLogger()
with log_context(trace_id="f" * 32):
    log.info("before")
    assert "opentelemetry" not in sys.modules
    from opentelemetry.sdk.trace import TracerProvider
    tracer = TracerProvider().get_tracer("x")
    log.info("no span yet")
    for text in ("quick", object()):
        with tracer.start_as_current_span("s") as span:
            log.info("inside", text=text)
            record = log.records[-1]
            context = span.get_span_context()
            assert record["trace_id"] == format(context.trace_id, "032x"), record
            assert record["span_id"] == format(context.span_id, "016x"), record
before, no_span = log.records[:2]
assert before["trace_id"] == no_span["trace_id"] == "f" * 32
assert "span_id" not in before
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)  # our own program


def test_an_opentelemetry_that_is_not_what_it_seems_costs_no_line() -> None:
    program = """
import sys, types
sys.modules["opentelemetry.trace"] = types.ModuleType("half imported")
from mtenant_logger.testing import RecordingLogger
log = RecordingLogger()
log.info("m", a=1); log.info("m", a=1)
assert len(log.records) == 2
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)  # our own program


TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_traceparent_is_read_as_the_specification_says() -> None:
    assert parse_traceparent(f"00-{TRACE}-{PARENT}-01") == TRACE
    assert parse_traceparent(f" 00-{TRACE}-{PARENT}-00 ") == TRACE
    assert parse_traceparent(f"cc-{TRACE}-{PARENT}-01-what-will-be") == TRACE
    for wrong in (
        "",
        f"00-{TRACE}-{PARENT}-01-more",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}\n-{PARENT}-01",
    ):
        assert parse_traceparent(wrong) is None, wrong
