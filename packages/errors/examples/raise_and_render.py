"""Name an error of a program, raise it, and render it in three shapes.

Run: python examples/raise_and_render.py
"""

from __future__ import annotations

import json

from mtenant_errors import BadRequest, Conflict, NotFound, codes, wrap


class ContactNotFound(NotFound):
    """The tenant has no contact with this id."""

    code, message = "CONTACT_NOT_FOUND", "contact {id} not found"


class SerializationFailure(Conflict):
    """Two transactions met; the second one may simply try again."""

    code, message = "SERIALIZATION_FAILURE", "the data changed meanwhile"
    retryable = True


def find_contact(contact_id: int) -> str:
    """Return a contact's name; there is only one."""
    if contact_id != 1:
        raise ContactNotFound(id=contact_id, internal="looked in schema tenant_acme")
    return "Example Ltd"


def main() -> None:
    """Show each error as a caller would see it."""
    try:
        find_contact(7)
    except NotFound as err:
        print("three members: ", err.to_http_response().to_json())
        print("problem:       ", json.dumps(err.to_problem(request_id="r-1"), indent=2))
        print("headers:       ", err.to_headers())
        print("for the log:   ", err.internal)

    try:
        try:
            find_contact(7)
        except NotFound as err:
            raise wrap(err, "cannot close deal {deal}: contact {id} not found", deal=12) from err
    except NotFound as err:
        print("wrapped:       ", repr(err), "caused by", repr(err.__cause__))

    print("retryable:     ", SerializationFailure().retryable)

    invalid = BadRequest(
        "the contact is not valid",
        code=codes.VALIDATION_FAILED,
        errors=[{"pointer": "#/email", "detail": "not an e-mail address"}],
    )
    print("validation:    ", invalid.to_problem_json())


if __name__ == "__main__":
    main()
