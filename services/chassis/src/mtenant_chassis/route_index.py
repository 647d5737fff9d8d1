"""RouteIndex: the route of a request is found among a few, and not among all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NoReturn

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match, NoMatchFound

from mtenant_chassis.auth.middleware import Receive, Scope, Send


class RouteIndex(BaseRoute):
    """Stands before an app's routes, and tries those with the method and as many slashes first.

    What it does not find is left to them: a request of another method (405), of no route (404), and
    whatever begins with a template that takes slashes.

    Args:
        routes: In their order, which it keeps.
    """

    def __init__(self, routes: Iterable[APIRoute]) -> None:
        self._routes: defaultdict[tuple[str, int], list[APIRoute]] = defaultdict(list)
        for route in routes:
            if ":path}" in route.path:
                break  # it may be meant by requests of those behind it
            for method in route.methods or ():
                self._routes[method, route.path.count("/")].append(route)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether one of the routes is meant, and what it adds to the scope."""
        if scope["type"] == "http":
            for route in self._routes.get((scope["method"], scope["path"].count("/")), ()):
                match, added = route.matches(scope)
                if match == Match.FULL:
                    return match, added
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request by the route that was found."""
        await scope["route"].handle(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: object) -> NoReturn:
        """Leave it to the routes: it has no path of its own."""
        raise NoMatchFound(name, path_params)
