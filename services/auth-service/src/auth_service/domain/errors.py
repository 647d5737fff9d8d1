"""What can go wrong here, as the caller is told it."""

from __future__ import annotations

from mtenant_errors import Conflict, Forbidden, NotFound, ServiceUnavailable, Unauthorized
from mtenant_errors import Unprocessable as Rule


class InvalidCredentials(Unauthorized):
    """Which part is wrong, or whether there is such an account, is not told."""

    code, message = "INVALID_CREDENTIALS", "the address, the password or the tenant is wrong"


class RefreshTokenInvalid(Unauthorized):
    """It is none, or has ended, or was used before."""

    code, message = "REFRESH_TOKEN_INVALID", "the refresh token is not valid: log in again"


class ClientUnknown(Unauthorized):
    """The client's id or secret is wrong (RFC 6749, 5.2: invalid_client)."""

    code, message = "CLIENT_UNKNOWN", "the client's id or its secret is wrong"
    headers = {"WWW-Authenticate": "Basic"}  # noqa: RUF012 - as its base has it


class AudienceUnknown(Rule):
    """A service says whom it is going to call: its token is good there and nowhere else."""

    code, message = "AUDIENCE_UNKNOWN", "`audience` names the service that is to be called"


class LoginRequired(Forbidden):
    """An API key or a service may not do what belongs to a person who is logged in."""

    code, message = "LOGIN_REQUIRED", "only a person who is logged in may do this"


class RoleTooLow(Forbidden):
    """Nobody gives away more than they have, or changes somebody above."""

    code, message = "ROLE_TOO_LOW", "your role does not reach so far"


class TenantMissing(Rule):
    """Neither the host name nor the body names a tenant."""

    code, message = "TENANT_MISSING", "name the tenant: in the body, or by its subdomain"


class UserNotFound(NotFound):
    """There is no such user in this tenant."""

    code, message = "USER_NOT_FOUND", "there is no such user"


class SessionNotFound(NotFound):
    """The caller has no such session."""

    code, message = "SESSION_NOT_FOUND", "there is no such session"


class ApiKeyNotFound(NotFound):
    """The caller has no such key."""

    code, message = "API_KEY_NOT_FOUND", "there is no such API key"


class EmailTaken(Conflict):
    """Told to those only who may know it: whoever was invited, and services."""

    code, message = "EMAIL_TAKEN", "there is an account with this address"


class UserIdTaken(Conflict):
    """The id that the caller chose belongs to another account."""

    code, message = "USER_ID_TAKEN", "another account has this id"


class InvitationInvalid(Rule):
    """It is unknown, has ended, was used, or is for another address."""

    code, message = "INVITATION_INVALID", "the invitation is not valid"


class RegistrationClosed(Forbidden):
    """The tenant takes those only who were invited."""

    code, message = "REGISTRATION_CLOSED", "an invitation is needed"


class ResetTokenInvalid(Rule):
    """It is unknown, has ended, or was used."""

    code, message = "RESET_TOKEN_INVALID", "the link is not valid any more: ask for another one"


class VerificationTokenInvalid(Rule):
    """It is unknown, has ended, or was used."""

    code, message = "VERIFICATION_TOKEN_INVALID", "the link is not valid any more"


class PasswordWrong(Rule):
    """The present password is not the one that was given."""

    code, message = "PASSWORD_WRONG", "the present password is another one"


class PasswordWeak(Rule):
    """Anybody would try it."""

    code, message = "PASSWORD_WEAK", "this password is too easy to guess: take another one"


class LastOwner(Rule):
    """A tenant without an owner could never get one again."""

    code, message = "LAST_OWNER", "a tenant keeps at least one active owner"


class OwnAccount(Rule):
    """Nobody locks themselves out."""

    code, message = "OWN_ACCOUNT", "this cannot be done to your own account"


class HashingBusy(ServiceUnavailable):
    """More passwords wait to be checked than can be in good time."""

    code, message = "LOGIN_BUSY", "too many logins at once: try again"
