from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from uuid import UUID

import pytest

from mtenant_errors import AppError, NotFound, TooManyRequests, from_problem


class QuotaExceeded(TooManyRequests):
    """An error as users write them: with arguments of its own."""

    code, message = "QUOTA_EXCEEDED", "the limit of {limit} is reached"

    def __init__(self, limit: int, /, *, plan: str) -> None:
        super().__init__(limit=limit, retry_after=60)
        self.plan = plan


class Odd(NotFound, KeyError):
    code, message = "ODD_ONE", "no {key}"


def _pickled(protocol: int) -> Callable[[AppError], AppError]:
    def way(err: AppError) -> AppError:
        back: AppError = pickle.loads(pickle.dumps(err, protocol))
        return back

    return way


WAYS: dict[str, Callable[[AppError], AppError]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle {n}": _pickled(n) for n in range(pickle.HIGHEST_PROTOCOL + 1)},
}


@pytest.fixture(params=[*WAYS.values()], ids=[*WAYS])
def again(request: pytest.FixtureRequest) -> Callable[[AppError], AppError]:
    way: Callable[[AppError], AppError] = request.param
    return way


def _assert_same(one: AppError, other: AppError) -> None:
    assert one is not other
    assert type(one) is type(other)
    assert vars(one) == vars(other)
    assert (one.args, str(one), repr(one)) == (other.args, str(other), repr(other))
    assert one.to_problem() == other.to_problem()
    assert one.to_headers() == other.to_headers()


def test_every_class_survives_with_all_it_holds(
    kind: type[AppError], again: Callable[[AppError], AppError]
) -> None:
    err = kind(
        "contact {id} not found",
        code="CONTACT_NOT_FOUND",
        detail="merged",
        errors=[{"pointer": "#/id"}],
        internal="tenant_acme",
        retry_after=3,
        headers={"X-A": "b"},
        id=UUID(int=7),
        unpicklable=lambda: None,
    )
    err.add_note("a note")

    _assert_same(err, again(err))
    assert again(err).__notes__ == err.__notes__ != []


def test_every_class_survives_bare(
    kind: type[AppError], again: Callable[[AppError], AppError]
) -> None:
    _assert_same(kind(), again(kind()))


@pytest.mark.parametrize("err", [QuotaExceeded(5, plan="free"), Odd(key="a")], ids=repr)
def test_subclasses_with_arguments_of_their_own_survive(
    err: AppError, again: Callable[[AppError], AppError]
) -> None:
    _assert_same(err, again(err))


def test_a_remote_error_stays_remote(again: Callable[[AppError], AppError]) -> None:
    err = from_problem({"retryable": True}, 404)

    _assert_same(err, again(err))
    assert again(err).remote


def test_a_copy_is_independent() -> None:
    err = NotFound("x", errors=[{"a": [1]}], a=[1])
    twin = copy.deepcopy(err)

    assert err.errors[0]["a"] is not twin.errors[0]["a"]
    assert err.params["a"] is not twin.params["a"]


def test_a_group_with_our_errors_can_be_pickled() -> None:
    group = ExceptionGroup("many", [QuotaExceeded(5, plan="free"), NotFound()])
    back = pickle.loads(pickle.dumps(group))

    assert [repr(exc) for exc in back.exceptions] == [repr(exc) for exc in group.exceptions]


def test_classes_go_by_the_name_that_people_import(kind: type[AppError]) -> None:
    assert kind.__module__ == "mtenant_errors"
