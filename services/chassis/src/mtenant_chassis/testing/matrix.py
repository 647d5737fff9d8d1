"""Operations, by every kind of caller."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import httpx2 as httpx

from mtenant_chassis.auth import ROLES, VERBS, permits
from mtenant_chassis.testing.answer import Seen, seen
from mtenant_chassis.testing.issuer import Issuer
from mtenant_chassis.testing.operation import ABSENT, Operation

_MALFORMED: Final = ("1", "..%2F..", "x" * 500, "%00", f"{ABSENT}'--", "%F0%28")


@dataclass(frozen=True)
class Matrix:
    """Asks a running service as those who may and those who may not.

    Each `assert_...` is about one operation, for a test that has them all as parameters:

    ```python
    CLOSED = [one for one in operations(app) if not one.is_public]

    @pytest.mark.parametrize("operation", CLOSED, ids=str)
    async def test_a_role_may_what_the_document_says(operation: Operation, matrix: Matrix) -> None:
        await matrix.assert_roles(operation)
    ```

    Attributes:
        service: The service's name, which is the audience of tokens for it.
        http: A client of it.
        issuer: Issues the tokens that it takes.
        tenant: One that is there.
        options: Returns what an operation is asked with, as `http.request` takes it: a body, fields. By
            default nothing.
    """

    service: str
    http: httpx.AsyncClient
    issuer: Issuer
    tenant: str
    options: Callable[[Operation], Mapping[str, Any]] = lambda _: {}

    async def assert_strangers(self, operation: Operation) -> None:
        """Assert that who has no good token is unknown, whatever is wrong with it.

        Raises:
            AssertionError: An answer is another one than a 401 with a challenge.
        """
        issuer, tenant = self.issuer, self.tenant
        callers = {
            "without a token": {},
            "with nonsense": {"authorization": "Bearer nonsense"},
            "too late": issuer.bearer(tenant, "owner", expires=time.time() - 60),
            "of another audience": issuer.bearer(tenant, "owner", audience="another-service"),
            "of another issuer": Issuer().bearer(tenant, "owner"),
            "a service elsewhere": self._service(operation.permission, audience="another-service"),
        }
        for who, headers in callers.items():
            answer = await self._ask(operation, operation.url(), headers)
            problem = answer.headers["content-type"] == "application/problem+json"
            challenge = answer.headers.get("www-authenticate", "").startswith("Bearer")
            if not (answer.status_code == 401 and problem and challenge):
                raise _unexpected(operation, who, answer)

    async def assert_roles(self, operation: Operation) -> None:
        """Assert that each role may what the document says, and nothing more.

        Raises:
            AssertionError: One is refused what it may, or not refused what it may not; or the
                service failed.
        """
        refusal = "SERVICES_ONLY" if operation.callers == "services" else "PERMISSION_MISSING"
        for role in (*ROLES, "emperor"):
            headers = self.issuer.bearer(self.tenant, role, user=str(uuid4()))
            answer = await self._ask(operation, operation.url(), headers)
            permission = operation.permission
            if operation.callers == "people" and (
                permission is None or permits([role], permission)
            ):
                expected = answer.status_code not in {401, 403, 500}
            else:
                expected = answer.status_code == 403 and answer.json()["code"] == refusal
            if not expected:
                raise _unexpected(operation, role, answer)

    async def assert_scopes(self, operation: Operation) -> None:
        """Assert that a service needs a scope that reaches the operation's permission.

        Raises:
            AssertionError: One is refused though it has it, or not refused though it has not.
        """
        noun, _, verb = str(operation.permission).partition(":")
        verbs = [str(one) for one in VERBS]
        lower = verbs[max(verbs.index(verb) - 1, 0)]
        callers = {
            None: False,
            f"other:{verb}": False,
            f"{noun}:{lower}": lower == verb,
            f"{noun}:{verb}": True,
        }
        for scope, may in callers.items():
            headers = self._service(scope, audience=self.service)
            answer = await self._ask(operation, operation.url(), headers)
            if (answer.status_code != 403) != may:
                raise _unexpected(operation, f"a service with {scope}", answer)

    async def assert_malformed_ids(self, operation: Operation) -> None:
        """Assert that an id which is none is a bad request.

        Raises:
            AssertionError: An answer is no problem, or not the one of a malformed request.
        """
        for identity in _MALFORMED:
            answer = await self._as_owner(operation, operation.url(identity))
            expected = (
                answer.status_code in {400, 404}
                and answer.headers["content-type"] == "application/problem+json"
                # One with a slash is another path, which need not be there.
                and ("%2F" in identity or answer.json()["code"] == "VALIDATION_FAILED")
            )
            if not expected:
                raise _unexpected(operation, f"the id {identity}", answer)

    async def assert_foreign_ids(self, operation: Operation, ids: Mapping[str, str]) -> None:
        """Assert that what is another tenant's is what is not there.

        Args:
            operation: The operation.
            ids: Another tenant's, by the names of the path's parameters.

        Raises:
            AssertionError: A caller can tell them apart, or the answer is not a 404.
        """
        foreign, absent = [
            seen(await self._as_owner(operation, operation.url(**named)), *named.values())
            for named in (ids, dict.fromkeys(ids, ABSENT))
        ]
        if not (foreign == absent and foreign.status == 404):
            raise AssertionError(f"{operation}: another tenant's {foreign}, absent {absent}")

    async def of_no_tenant(self, operation: Operation) -> Seen:
        """Ask with tokens of two tenants that are not there.

        Returns:
            What either sees.

        Raises:
            AssertionError: They see different things.
        """
        first, second = [
            seen(await self._ask(operation, operation.url(), self.issuer.bearer(tenant, "owner")))
            for tenant in ("0" * 32, "1" * 32)
        ]
        if first != second:
            raise AssertionError(f"{operation}: of no tenant {first}, of another one {second}")
        return first

    async def _ask(
        self, operation: Operation, url: str, headers: Mapping[str, str]
    ) -> httpx.Response:
        options = dict(self.options(operation))
        headers = {**options.pop("headers", {}), **headers}
        return await self.http.request(operation.method, url, headers=headers, **options)

    async def _as_owner(self, operation: Operation, url: str) -> httpx.Response:
        return await self._ask(operation, url, self.issuer.bearer(self.tenant, "owner"))

    def _service(self, scope: str | None, *, audience: str) -> dict[str, str]:
        scopes = () if scope is None else (scope,)
        token = self.issuer.service_token(
            "some-service", audience=audience, tenant=self.tenant, scopes=scopes
        )
        return {"authorization": f"Bearer {token}"}


def _unexpected(operation: Operation, who: str, answer: httpx.Response) -> AssertionError:
    return AssertionError(f"{operation}, {who}: {answer.status_code} {answer.text[:500]}")
