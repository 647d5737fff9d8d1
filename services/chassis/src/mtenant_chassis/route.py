"""Router: FastAPI's, whose routes say who may call them, and commit before they answer."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from mtenant_chassis import idempotency
from mtenant_chassis.auth.access import Access
from mtenant_chassis.body_limit import BodyLimit
from mtenant_chassis.etag import not_modified
from mtenant_chassis.fieldset import Fieldset, select
from mtenant_chassis.idempotency import Idempotent
from mtenant_chassis.mark import Mark
from mtenant_chassis.openapi import responses_of, security_of
from mtenant_chassis.parameters import give, split
from mtenant_chassis.problems import known_names, not_allowed, translate
from mtenant_chassis.tenancy import tenant_of, transaction_of
from mtenant_errors import AppError
from mtenant_errors.asgi import instance_of

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Route(APIRoute):
    """A route that was told who may call it.

    Before the body is read the caller is checked. With a `Tx` parameter everything runs in one
    transaction of the caller's tenant, which is committed before the answer is sent: an answer is never
    a promise. With `idempotent()` the answer is stored in that transaction.

    Attributes:
        access: What it asks of its caller.
        limit: How large a body it takes, if it says so.
        idempotent: Whether it offers Idempotency-Key.

    Raises:
        TypeError: It says nothing about its callers, or `idempotent()` stands without a `Tx`.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        said = list(options.pop("dependencies", None) or ())
        self.access = _access_of(path, said)
        self.limit = next((one for one in said if isinstance(one, BodyLimit)), None)
        self.idempotent = any(isinstance(one, Idempotent) for one in said)
        endpoint, self._asked = split(endpoint)
        solved = [one for one in said if not isinstance(one, Mark)]
        super().__init__(path, endpoint, dependencies=solved, **options)
        found = responses_of(
            self.access,
            self.methods or (),
            path,
            self._calls(),
            body=self.body_field is not None,
            idempotent=self.idempotent,
        )
        self.responses = {**found, **self.responses}
        parameters = [idempotency.PARAMETER] if self.idempotent else []
        if (fieldset := self.fieldset) is not None:
            parameters.append(fieldset.parameter())
        self.openapi_extra = {
            **security_of(self.access),
            **({"parameters": parameters} if parameters else {}),
            **(self.openapi_extra or {}),
        }

    @property
    def fieldset(self) -> Fieldset | None:
        """What the items have, where it answers with a `Page` of them."""
        return Fieldset.of(self.response_model)

    def get_route_handler(self) -> Handler:
        """Return the handler, with all of that around it."""
        handle = self._giving(super().get_route_handler())
        if (fieldset := self.fieldset) is not None:
            handle = self._selecting(handle, fieldset)
        if transaction_of in self._calls():
            handle = self._in_transaction(handle)
        elif self.idempotent:
            raise TypeError(
                f"{self.path}: idempotent() needs a Tx, which the answer is stored with"
            )
        access, limit, template = self.access, self.limit, "{" in self.path

        async def checked(request: Request) -> Response:
            if template and request.scope["path"] in request.app.state.literal_paths:
                raise not_allowed(request)  # DELETE /contacts/export is not of /contacts/{id}
            access.check(request.scope["state"])
            if limit is not None:
                limit.apply(request.scope)
            return not_modified(request, await handle(request))

        return checked

    def _calls(self) -> frozenset[Any]:
        return frozenset((*self._asked.values(), *(one.call for one in _all(self.dependant))))

    def _giving(self, handle: Handler) -> Handler:
        asked = self._asked

        async def run(request: Request) -> Response:
            await give(request, asked)
            return await handle(request)

        return run if asked else handle

    def _selecting(self, handle: Handler, fieldset: Fieldset) -> Handler:
        async def run(request: Request) -> Response:
            wanted = fieldset.asked(request)
            response = await handle(request)
            return response if wanted is None else select(response, wanted)

        return run

    def _in_transaction(self, handle: Handler) -> Handler:
        async def run(request: Request) -> Response:
            tenant = await tenant_of(request)
            key = idempotency.key_of(request) if self.idempotent else None
            guard = None
            if key is not None:
                service = request.app.state.chassis.settings.service
                guard = await idempotency.Guard.of(request, key, service=service, route=self.path)
            failure: AppError | None = None
            response = Response()
            async with tenant.transaction() as tx:
                request.scope["state"]["transaction"] = tx
                if guard is None:
                    return await handle(request)
                stored = await guard.begin(tx)
                if stored is not None:
                    return stored
                try:
                    async with tx.transaction():
                        response = await handle(request)
                except Exception as exc:
                    failure = translate(exc, known_names(request.app))
                    if not idempotency.is_final(failure):
                        raise
                    failure.__cause__ = failure.__cause__ or (exc if exc is not failure else None)
                    await guard.keep(tx, *_told(failure, request))
                else:
                    await guard.keep(tx, *idempotency.answer_of(response))
            if failure is not None:
                raise failure
            return response

        return run


def _told(err: AppError, request: Request) -> tuple[int, list[tuple[str, str]], bytes]:
    request_id = request.scope["state"].get("request_id")
    instance = instance_of(request.scope)
    body = err.to_problem_json(instance=instance, request_id=request_id).encode("ascii")
    headers = {**err.to_headers(), "content-length": str(len(body))}
    return err.status_code, list(headers.items()), body


def _access_of(path: str, said: list[Any]) -> Access:
    found = [one for one in said if isinstance(one, Access)]
    if len(found) != 1:
        raise TypeError(
            f"{path} says {'nothing' if not found else 'two things'} about its callers: add one of"
            " requires('noun:verb'), authenticated(), services_only(), public() to its dependencies"
        )
    return found[0]


def _all(dependant: Dependant) -> Iterator[Dependant]:
    for one in dependant.dependencies:
        yield one
        yield from _all(one)


class Router(APIRouter):
    """FastAPI's router with `Route`s; what FastAPI's documentation says of routers holds."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("route_class", Route)
        super().__init__(*args, **options)
