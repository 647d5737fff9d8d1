from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from mtenant_devstack import DevstackError
from mtenant_devstack.gateway import Gateway
from mtenant_devstack.ports import LOOPBACK, free_port

TIMEOUT = 30.0  # seconds; only a test that fails waits so long


class Answering:
    """A process that answers with its name, and then what it was sent."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(self.name)
                while piece := connection.recv(1000):
                    connection.sendall(piece)

    def stop(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)  # which ends an accept
        self.listener.close()
        self.thread.join(TIMEOUT)


@pytest.fixture
def both() -> Iterator[tuple[Answering, Answering]]:
    processes = Answering(b"a"), Answering(b"b")
    yield processes
    for process in processes:
        if process.thread.is_alive():
            process.stop()


def ask(port: int) -> bytes:
    """Say hello and no more; return all that is answered, which is nothing when it is cut off."""
    with socket.create_connection((LOOPBACK, port), TIMEOUT) as connection:
        try:
            connection.sendall(b" hello")
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as answer:
                return answer.read()
        except OSError as exc:
            # What was not read when the other end closed makes a reset of its close.
            if exc.errno not in {errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN}:
                raise
            return b""


def test_connections_go_in_turn_and_past_a_process_that_is_gone(
    both: tuple[Answering, Answering],
) -> None:
    port = free_port()
    gateway = Gateway(port, [process.port for process in both])
    gateway.open()
    try:
        assert [ask(port) for _ in range(4)] == [b"a hello", b"b hello"] * 2
        both[0].stop()
        assert [ask(port) for _ in range(3)] == [b"b hello"] * 3
        both[1].stop()
        assert ask(port) == b""
    finally:
        gateway.close()

    assert gateway.passed == [2, 5]


def test_a_connection_is_cut_off_when_the_gateway_closes(
    both: tuple[Answering, Answering],
) -> None:
    port = free_port()
    gateway = Gateway(port, [both[0].port])
    gateway.open()
    with socket.create_connection((LOOPBACK, port), TIMEOUT) as connection:
        assert connection.recv(1) == b"a"
        gateway.close()

        assert connection.recv(1) == b""


def test_a_port_that_is_taken_is_named() -> None:
    with closing(socket.create_server((LOOPBACK, 0))) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(DevstackError, match=f"no gateway at port {port}"):
            Gateway(port, []).open()
