"""HTTP: what a request has to look like, who may send it, and what an answer looks like."""

from auth_service.routes import (
    api_keys,
    keys,
    login,
    password,
    profile,
    registration,
    sessions,
    tokens,
    users,
)
from mtenant_chassis import Router, audit_router

__all__ = ["routers"]


def routers() -> list[Router]:
    """Return the routers of all nouns."""
    modules = (  # in the order in which a request's path is looked for: the busiest first
        profile,
        tokens,
        login,
        registration,
        password,
        sessions,
        users,
        api_keys,
        keys,
    )
    return [*(module.router for module in modules), audit_router("/api/auth/audit")]
