"""A client of the services' HTTP API, small enough to be read beside the story that uses it."""

from __future__ import annotations

import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from mtenant_devstack.errors import DevstackError

TIMEOUT = 60  # seconds for a service to answer
NO_CONTENT = 204


@dataclass(frozen=True)
class Answer:
    """What a service has answered.

    Attributes:
        status: the HTTP status.
        body: the bytes.
    """

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON; None if there is none."""
        return json.loads(self.body) if self.body else None


class Http:
    """Calls services, as one person or as nobody.

    Args:
        urls: of each service, by its name.
        token: the person's access token.

    Attributes:
        token: the same.
    """

    def __init__(self, urls: Mapping[str, str], token: str | None = None) -> None:
        self._urls = urls
        self.token = token

    def having(self, token: str) -> Http:
        """Return a client of the person whom a token belongs to."""
        return Http(self._urls, token)

    def post(self, service: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """Post JSON, and return what is answered; raises as `expect`."""
        return self.expect(status, "POST", service, path, body)

    def get(self, service: str, path: str, *, status: int = 200) -> Any:
        """Return what is there; raises as `expect`."""
        return self.expect(status, "GET", service, path)

    def upload(self, service: str, path: str, filename: str, content: str) -> Any:
        """Post a file as a form has it, and return what is answered; raises as `expect`."""
        boundary = secrets.token_hex(16)
        lines = [
            f"--{boundary}",
            f'content-disposition: form-data; name="file"; filename="{filename}"',
            "content-type: text/csv",
            "",
            content,
            f"--{boundary}--",
            "",
        ]
        kind = f"multipart/form-data; boundary={boundary}"
        answer = self._send("POST", service, path, "\r\n".join(lines).encode(), kind)
        return self._read(answer, (200, 202), "POST", service, path)

    def expect(self, status: int, method: str, service: str, path: str, body: Any = None) -> Any:
        """Return what is answered.

        Raises:
            DevstackError: it is another status, or no answer at all.
        """
        return self._read(self.ask(method, service, path, body), (status,), method, service, path)

    def ask(self, method: str, service: str, path: str, body: Any = None) -> Answer:
        """Return what is answered, whatever it is.

        Raises:
            DevstackError: nothing was answered.
        """
        data = None if body is None else json.dumps(body).encode()
        return self._send(method, service, path, data, "application/json")

    def _read(
        self, answer: Answer, expected: tuple[int, ...], method: str, service: str, path: str
    ) -> Any:
        if answer.status not in expected:
            told = answer.body.decode(errors="replace")[:400]
            raise DevstackError(
                f"{method} {path} of {service}: {answer.status} instead of {expected[0]}: {told}"
            )
        return answer.json

    def _send(self, method: str, service: str, path: str, data: bytes | None, kind: str) -> Answer:
        request = urllib.request.Request(  # noqa: S310 -- of our own services
            self._urls[service] + path, method=method, data=data, headers={"content-type": kind}
        )
        if self.token is not None:
            request.add_header("authorization", f"Bearer {self.token}")
        try:
            with _opened(request) as answer:
                return Answer(answer.status, _whole(answer))
        except (OSError, ValueError, HTTPException) as exc:
            raise DevstackError(f"{method} {path} of {service}: no answer: {exc}") from exc


def _opened(request: urllib.request.Request) -> Any:
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310 -- as above
    except urllib.error.HTTPError as refused:
        return refused


def _whole(answer: Any) -> bytes:
    """Return the body; a service that was killed may have said the beginning of an answer."""
    body: bytes = answer.read()
    framed = "content-length" in answer.headers or "transfer-encoding" in answer.headers
    if not framed and answer.status != NO_CONTENT:
        raise ValueError("it breaks off")
    return body
