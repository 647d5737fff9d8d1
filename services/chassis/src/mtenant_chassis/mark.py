"""Mark: what a route is told among its dependencies, and which is none."""

from __future__ import annotations

from typing import NoReturn


class Mark:
    """Stands in a route's `dependencies=[...]`; `Route` takes it out before FastAPI looks at them."""

    @property
    def dependency(self) -> NoReturn:
        """Refuse to be solved: a route that knows no marks would leave undone what this one asks.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            f"{type(self).__name__} is not for this router: routes that take requires(), public(),"
            " body_limit() or idempotent() are made by mtenant_chassis.Router"
        )
