"""What this service does when others tell of something; each once, in the transaction of the inbox."""

from __future__ import annotations

from uuid import UUID

from communication_service.domain.activity import Occurrence, Related
from communication_service.domain.errors import AddressMissing
from communication_service.domain.event import DealClosedWon, UserCreated
from communication_service.domain.follow_up import FOLLOW_UP, WELCOME
from communication_service.domain.order import Plan
from communication_service.domain.text import as_one_line
from communication_service.handlers.activities import Activities
from communication_service.handlers.outgoing import known_address
from communication_service.handlers.scheduled import ScheduledEmails
from communication_service.settings import CommunicationServiceSettings
from mtenant_chassis import AuditTrail, Chassis
from mtenant_database import Transaction
from mtenant_events import Event, Subscriptions
from mtenant_logger import get_logger

log = get_logger(__name__)


def subscriptions(chassis: Chassis, own: CommunicationServiceSettings) -> Subscriptions:
    """Return the handlers of a running app's events."""
    subs = Subscriptions()
    service = f"service:{chassis.settings.service}"

    @subs.on(UserCreated, name="welcome")
    async def welcome(event: Event[UserCreated], tx: Transaction) -> None:
        """Send a new user the welcome mail."""
        user = event.data
        try:
            recipient = known_address(user.email)
        except AddressMissing:
            log.warning("a new user has no address for a welcome", user=user.user_id)
            return
        plan = Plan(
            template=WELCOME,
            recipient=recipient,
            user_id=user.user_id,
            values={"name": as_one_line(user.name)},
            transactional=True,
            created_by=event.actor or service,
        )
        await ScheduledEmails(chassis, own).plan(tx, plan)

    @subs.on(DealClosedWon, name="follow_up")
    async def follow_up(event: Event[DealClosedWon], tx: Transaction) -> None:
        """Note that a deal was won, and begin the sequence of mails to its first contact."""
        deal = event.data
        actor = event.actor or service
        contacts = [UUID(one) for one in deal.contact_ids]
        what = Occurrence(
            kind="note",
            subject=as_one_line(f"Deal closed won: {deal.name}")[:200],
            body=_amount(deal),
            occurred_at=event.timestamp,
            related=Related(contact_ids=contacts, deal_ids=[UUID(deal.deal_id)]),
        )
        trail = AuditTrail(chassis.settings.service, actor, event.correlation_id)
        await Activities(chassis).log(tx, trail, what)
        for step in FOLLOW_UP if contacts else ():
            plan = Plan(
                template=step.template,
                after=step.after,
                contact_id=contacts[0],
                deal_id=UUID(deal.deal_id),
                values={"deal_name": as_one_line(deal.name)},
                transactional=False,
                created_by=actor,
            )
            await ScheduledEmails(chassis, own).plan(tx, plan)

    return subs


def _amount(deal: DealClosedWon) -> str:
    if deal.amount_minor is None or deal.currency is None:
        return ""
    return f"{deal.amount_minor} {deal.currency}, in the currency's smallest unit"
