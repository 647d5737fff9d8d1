"""What this service refuses, and why. 422 is a rule of the business that a good request breaks."""

from __future__ import annotations

from mtenant_errors import Conflict, NotFound, Unprocessable


class DealNotFound(NotFound):
    """There is none, or it was deleted."""

    code, message = "DEAL_NOT_FOUND", "there is no such deal"


class PipelineNotFound(NotFound):
    """There is none."""

    code, message = "PIPELINE_NOT_FOUND", "there is no such pipeline"


class StageNotFound(NotFound):
    """The pipeline has none with this id."""

    code, message = "STAGE_NOT_FOUND", "the pipeline has no such stage"


class LostReasonNotFound(NotFound):
    """There is none."""

    code, message = "LOST_REASON_NOT_FOUND", "there is no such reason"


class ContactNotAssociated(NotFound):
    """The contact does not belong to the deal."""

    code, message = "CONTACT_NOT_ASSOCIATED", "the deal has no such contact"


class ContactAssociated(Conflict):
    """The contact belongs to the deal already."""

    code, message = "CONTACT_ASSOCIATED", "the deal has this contact already"


class TooManyContacts(Unprocessable):
    """A deal, or the deals of one request, would have more than they may."""

    code, message = "TOO_MANY_CONTACTS", "{what} at most {most} contacts"


class NameTaken(Conflict):
    """Another pipeline has the name, or another reason or stage the key."""

    code, message = "NAME_TAKEN", "this {what} is taken"


class PipelineUnknown(Unprocessable):
    """The request names a pipeline that is not there."""

    code, message = "PIPELINE_UNKNOWN", "there is no such pipeline"


class StageUnknown(Unprocessable):
    """The request names a stage that the pipeline has not."""

    code, message = "STAGE_UNKNOWN", "the pipeline has no such stage: it has {stages}"


class TransitionRefused(Unprocessable):
    """A deal does not go from the one stage to the other."""

    code, message = "TRANSITION_REFUSED", "a deal goes from {stage} to {allowed} only"


class StageNotOpen(Unprocessable):
    """A deal begins, and comes into another pipeline, in an open stage."""

    code, message = "STAGE_NOT_OPEN", "a deal begins in an open stage, and {stage} is none"


class DealClosed(Unprocessable):
    """What a closed deal was worth is history."""

    code, message = "DEAL_CLOSED", "the deal is {status}: move it to an open stage first"


class LostReasonRequired(Unprocessable):
    """A deal is lost for a reason."""

    code, message = "LOST_REASON_REQUIRED", "say by lost_reason why the deal is lost"


class LostReasonUnknown(Unprocessable):
    """The request names a reason that is not there, or not in use any more."""

    code, message = "LOST_REASON_UNKNOWN", "there is no such reason: there are {reasons}"


class LostReasonUnwanted(Unprocessable):
    """The deal is not lost."""

    code, message = "LOST_REASON_UNWANTED", "only a lost deal has a reason why it is lost"


class ContactUnknown(Unprocessable):
    """contact-service knows no such contact in this tenant."""

    code, message = "CONTACT_UNKNOWN", "there is no such contact"


class OwnerUnknown(Unprocessable):
    """auth-service knows no such active user in this tenant."""

    code, message = "OWNER_UNKNOWN", "there is no such user"


class PipelineInvalid(Unprocessable):
    """Deals could not begin, or not end, or not go where a stage says."""

    code, message = "PIPELINE_INVALID", "{why}"


class PipelineInUse(Unprocessable):
    """Deals are in it, deleted ones among them."""

    code, message = "PIPELINE_IN_USE", "deals are in this {what}, perhaps deleted ones"


class DefaultPipelineNeeded(Unprocessable):
    """New deals go somewhere."""

    code, message = "DEFAULT_PIPELINE_NEEDED", "make another pipeline the default one instead"


class LostReasonInUse(Unprocessable):
    """Deals were lost for it."""

    code, message = "LOST_REASON_IN_USE", "deals were lost for this reason: set is_active to false"


class PeriodInvalid(Unprocessable):
    """It ends before it begins, or is too long."""

    code, message = "PERIOD_INVALID", "{why}"
