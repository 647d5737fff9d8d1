"""The client of the story: an answer is a whole one, or none."""

from __future__ import annotations

import socket
import threading

import pytest

from mtenant_devstack.errors import DevstackError
from mtenant_devstack.http import Http


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.1 201 Cre",
        b"HTTP/1.1 201 Created\r\ncontent-le",
        b"HTTP/1.1 201 Created\r\ncontent-length: 322\r\n\r\n",
        b"HTTP/1.1 409 Conflict\r\ncontent-length: 322\r\n\r\n{",
    ],
)
def test_what_a_killed_service_has_begun_to_say_is_no_answer(sent: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            conn, _ = server.accept()
            with conn:
                conn.recv(65536)
                conn.sendall(sent)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            http = Http({"a": f"http://127.0.0.1:{server.getsockname()[1]}"})
            with pytest.raises(DevstackError, match="no answer"):
                http.ask("POST", "a", "/x", {})
        finally:
            thread.join()
