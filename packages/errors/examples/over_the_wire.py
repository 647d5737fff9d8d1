"""Send an error to another process and get the same class there.

The "wire" is a function here; with an HTTP client the three values are `response.content`,
`response.status_code` and `response.headers`.

Run: python examples/over_the_wire.py
"""

from __future__ import annotations

from mtenant_errors import (
    AppError,
    NotFound,
    ServiceUnavailable,
    from_exception,
    from_problem,
)


def contact_service(contact_id: int) -> tuple[bytes, int, dict[str, str]]:
    """Answer as the service of contacts would: it has none, and is overloaded for the id 0."""
    err: AppError
    if contact_id == 0:
        err = ServiceUnavailable(retry_after=2)
    else:
        err = NotFound("contact {id} not found", code="CONTACT_NOT_FOUND", id=contact_id)
    return err.to_problem_json().encode(), err.status_code, err.to_headers()


def fetch_contact(contact_id: int) -> None:
    """Call the service of contacts and raise what it answered."""
    body, status, headers = contact_service(contact_id)
    raise from_problem(body, status, headers)


def main() -> None:
    """Call, and show what the answer means to the caller and to the caller's own callers."""
    for contact_id in (7, 0):
        try:
            fetch_contact(contact_id)
        except AppError as err:
            print(f"caught         {err!r}, retry after {err.retry_after}")
            ours = from_exception(err)
            print(f"we answer      {ours.status_code} {ours.code}, {ours.to_headers()}")
            print(f"as our own     {err.as_own().to_problem()['status']} {err.as_own().message}")

    # Not every answer is a problem: a proxy's page still becomes the right class.
    print("from HTML      ", repr(from_problem(b"<html>502 Bad Gateway</html>", 502)))


if __name__ == "__main__":
    main()
