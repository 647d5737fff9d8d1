from __future__ import annotations

import logging
from http import HTTPStatus

from mtenant_errors import AppError, codes
from mtenant_errors.exceptions import CLASSES
from mtenant_errors.table import BY_STATUS, KINDS

# code.proto of googleapis, in the order of its numbers.
GRPC_CODES = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]


def test_every_row_has_the_class_that_it_names() -> None:
    assert {kind.status: kind.name for kind in KINDS} == {
        status: cls.__name__ for status, cls in CLASSES.items()
    }
    assert all(cls.kind is BY_STATUS[status] for status, cls in CLASSES.items())


def test_a_class_says_what_its_row_says() -> None:
    for cls in CLASSES.values():
        row = cls.kind
        assert (cls.status_code, cls.code, cls.message, cls.retryable) == (
            row.status,
            row.code,
            row.message,
            row.retryable,
        )


def test_no_two_rows_share_a_status_a_name_or_a_code() -> None:
    for column in ("status", "name", "code"):
        assert len({getattr(kind, column) for kind in KINDS}) == len(KINDS)


def test_the_table_covers_exactly_these_statuses_in_order() -> None:
    assert [kind.status for kind in KINDS] == [
        *(400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 412, 413, 415, 422, 428, 429),
        *(500, 501, 502, 503, 504),
    ]


def test_the_columns_hold_real_values() -> None:
    for kind in KINDS:
        assert 400 <= HTTPStatus(kind.status) < 600
        assert kind.grpc_code in GRPC_CODES
        assert kind.code == getattr(codes, kind.code)
        assert kind.type == f"urn:mtenant:error:{kind.code}"
        assert kind.title
        assert kind.message


def test_only_what_did_nothing_is_retryable() -> None:
    assert [kind.status for kind in KINDS if kind.retryable] == [408, 429, 503]


def test_the_faults_of_the_server_are_logged_as_errors_and_no_others() -> None:
    for kind in KINDS:
        assert (kind.log_level >= logging.ERROR) == (kind.status >= 500)


def test_every_constant_is_a_code_by_the_grammar() -> None:
    constants = {name: value for name, value in vars(codes).items() if name.isupper()}
    del constants["TYPE_PREFIX"], constants["_GRAMMAR"]

    assert set(constants) == {kind.code for kind in KINDS} | {"VALIDATION_FAILED"}
    assert all(name == value and codes.is_code(value) for name, value in constants.items())


def test_the_base_counts_as_an_internal_server_error() -> None:
    assert AppError.kind is BY_STATUS[500]
    assert AppError("odd").to_http_response().status_code == 500
