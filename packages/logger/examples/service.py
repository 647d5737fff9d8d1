"""A service: configured once, with a context for each request."""

import asyncio

from mtenant_logger import LoggerConfig, configure, get_logger, log_context, register_secret, stats

log = get_logger("contact_service.handlers")


def look_up() -> None:
    """Fail with a text that holds a password."""
    raise LookupError("postgresql://app:hunter2@db.example.com/crm: no such contact")


async def fetch(contact_id: int) -> None:
    """Handle one request."""
    with log_context(request_id=f"r-{contact_id}", tenant_id="acme", user_id="u-7"):
        await asyncio.sleep(0)
        log.info("contact fetched", contact_id=contact_id, access_token="never written")  # noqa: S106  # no real one
        try:
            look_up()
        except LookupError as exc:
            log.warning("lookup failed", err=exc, contact_id=contact_id)


async def main() -> None:
    """Handle several requests at once."""
    configure(LoggerConfig.from_env("contact-service"))
    register_secret("tr0ub4dor")
    await asyncio.gather(*(fetch(n) for n in range(3)))
    log.bind(step="shutdown").warning("a registered secret is masked: tr0ub4dor")


asyncio.run(main())
assert sum(stats().dropped.values()) == 0
