"""What this service refuses, and why."""

from __future__ import annotations

from mtenant_errors import (
    Conflict,
    Forbidden,
    Gone,
    NotFound,
    PaymentRequired,
    ServiceUnavailable,
    Unprocessable,
)


class SubdomainTaken(Conflict):
    """Somebody has the name, or had it a short while ago."""

    code, message = "SUBDOMAIN_TAKEN", "this subdomain is taken"


class SubdomainReserved(Conflict):
    """Nobody may have the name."""

    code, message = "SUBDOMAIN_RESERVED", "this subdomain is reserved"


class OrganizationNotFound(NotFound):
    """There is none, or none that can be used."""

    code, message = "ORGANIZATION_NOT_FOUND", "there is no such organization"


class RegistrationNotFound(NotFound):
    """There is none, or it was over long ago."""

    code, message = "REGISTRATION_NOT_FOUND", "there is no such registration"


class RegistrationRunning(Conflict):
    """The same registration is being worked on."""

    code, message = "REGISTRATION_RUNNING", "this registration is being worked on"
    retryable = True


class RegistrationLost(ServiceUnavailable):
    """This process was so slow that another one has given the registration up."""

    code, message = "REGISTRATION_LOST", "this registration was given up: begin again"


class OrganizationBusy(Conflict):
    """What is asked for does not fit the organization's status."""

    code, message = "ORGANIZATION_BUSY", "the organization is {status}"


class ConfirmationWrong(Unprocessable):
    """The subdomain that confirms a deletion is another one."""

    code, message = "CONFIRMATION_WRONG", "confirm with the subdomain of the organization"


class ExportMissing(Unprocessable):
    """Nobody has exported the data that would be deleted."""

    code, message = (
        "EXPORT_MISSING",
        "export the data first: it can be deleted within 24 hours then",
    )


class PlanLimitReached(PaymentRequired):
    """The plan has no more of it."""

    code, message = "PLAN_LIMIT_REACHED", "the plan {plan} has {most} {limit}"


class PlanTooSmall(Conflict):
    """More is in use than the plan has."""

    code, message = "PLAN_TOO_SMALL", "{used} {limit} are in use, and the plan {plan} has {most}"


class InvitationNotFound(NotFound):
    """There is none."""

    code, message = "INVITATION_NOT_FOUND", "there is no such invitation"


class InvitationGone(Gone):
    """It was accepted or revoked, or is too old."""

    code, message = "INVITATION_GONE", "this invitation cannot be used any more"


class InvitationBusy(Conflict):
    """Somebody is accepting it at this moment."""

    code, message = "INVITATION_BUSY", "this invitation is being accepted"
    retryable = True


class InvitationPending(Conflict):
    """The address has an open invitation."""

    code, message = "INVITATION_PENDING", "this address is invited already: send it again instead"


class InvitationClosed(Conflict):
    """It is not open, so that it can be neither sent again nor revoked."""

    code, message = "INVITATION_CLOSED", "this invitation is {status}"


class RoleTooHigh(Forbidden):
    """Nobody gives away more than they have."""

    code, message = "ROLE_TOO_HIGH", "the role {role} is above your own"


class PeopleOnly(Forbidden):
    """The route is about the person who calls, and a service is none."""

    code, message = "PEOPLE_ONLY", "this is for people only"
