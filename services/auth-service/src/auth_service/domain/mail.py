"""The mails of this service. Their links have the token behind a #, which no server gets to see."""

from __future__ import annotations

from mtenant_chassis import Mail


def _link(app_url: str | None, page: str, token: str) -> str:
    return token if app_url is None else f"{app_url}/{page}#token={token}"


def reset_mail(email: str, token: str, *, app_url: str | None) -> Mail:
    """Return the mail to somebody who has forgotten the password."""
    return Mail(
        to=email,
        subject="Choose a new password",
        text=(
            "Somebody asked for a new password for this address. Choose it here within one hour:\n\n"
            f"{_link(app_url, 'reset-password', token)}\n\n"
            "If it was not you, do nothing: your password stays as it is.\n"
        ),
    )


def welcome_mail(email: str, token: str, *, app_url: str | None) -> Mail:
    """Return the mail to somebody for whom an account was made."""
    return Mail(
        to=email,
        subject="Choose your password",
        text=(
            "An account was made for this address. Choose its password here within a week:\n\n"
            f"{_link(app_url, 'reset-password', token)}\n"
        ),
    )


def verification_mail(email: str, token: str, *, app_url: str | None) -> Mail:
    """Return the mail that finds out whether an address is its owner's."""
    return Mail(
        to=email,
        subject="Confirm your address",
        text=(
            "Somebody registered with this address. Confirm it here within three days:\n\n"
            f"{_link(app_url, 'verify-email', token)}\n\n"
            "If it was not you, do nothing: without this the account cannot be used.\n"
        ),
    )


def known_mail(email: str, *, app_url: str | None) -> Mail:
    """Return the mail to somebody who registers a second time."""
    where = "" if app_url is None else f" at {app_url}"
    return Mail(
        to=email,
        subject="You have an account already",
        text=(
            f"Somebody registered with this address{where}, which has an account. If it was you, log in,"
            " or ask for a new password.\nIf it was not, do nothing.\n"
        ),
    )
