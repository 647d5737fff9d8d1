"""What a route is given of its request alone: asked for directly, and not solved as a graph.

FastAPI solves each dependency as if it had parameters, errors and a scope of its own. What the chassis
gives to routes needs the request and nothing else, and nearly every route takes several of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, TypeAlias

from fastapi import Request, params

Ask: TypeAlias = Callable[[Request], Awaitable[Any]]
Endpoint: TypeAlias = Callable[..., Any]

_REQUEST = "given_request"


class Given(params.Depends):
    """A dependency that is a function of the request.

    It is FastAPI's `Depends` too, for the parameters of other dependencies.
    """


def given(ask: Ask) -> Any:
    """Let a parameter of a route have what a function says of its request.

    It is asked before the request's body is read.

    >>> from typing import Annotated
    >>> async def agent_of(request: Request) -> str:
    ...     return request.headers.get("user-agent", "")
    >>> Agent = Annotated[str, given(agent_of)]  # a route: `async def get(agent: Agent)`
    """
    return Given(ask)


def split(endpoint: Endpoint) -> tuple[Endpoint, Mapping[str, Ask]]:
    """Return the endpoint for FastAPI, without the parameters that are given, and those by name.

    The endpoint that is returned takes their values from `give`.
    """
    if not inspect.iscoroutinefunction(endpoint):
        return endpoint, {}
    signature = inspect.signature(endpoint, eval_str=True)
    asked: dict[str, Ask] = {}
    others: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        found = [one for one in _metadata(parameter.annotation) if isinstance(one, Given)]
        if found and found[-1].dependency is not None:
            asked[parameter.name] = found[-1].dependency
        else:
            others.append(parameter)
    if not asked:
        return endpoint, {}
    own = next((one.name for one in others if one.annotation is Request), None)
    if own is None:
        kind = inspect.Parameter.KEYWORD_ONLY
        others.append(inspect.Parameter(_REQUEST, kind, annotation=Request))

    @wraps(endpoint)
    async def call(**values: Any) -> Any:
        request = values.pop(_REQUEST) if own is None else values[own]
        return await endpoint(**values, **request.scope["state"]["given"])

    # FastAPI reads it; `wraps` alone would show the endpoint's own.
    call.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
    return call, asked


async def give(request: Request, asked: Mapping[str, Ask]) -> None:
    """Ask for what an endpoint is given, and keep it for the call."""
    request.scope["state"]["given"] = {name: await ask(request) for name, ask in asked.items()}


def _metadata(annotation: object) -> tuple[object, ...]:
    return getattr(annotation, "__metadata__", ())
