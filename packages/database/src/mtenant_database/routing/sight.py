"""What one look at a server tells: its role, where its log is, and which history that belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mtenant_database.database import Database

# A position says nothing about another history: after a failover the new primary writes other
# records at positions that a replica of the old one has replayed too. A replica knows its own
# history from its receiver, if the role may see that (pg_read_all_stats), else from its last restart point
# (manual, 9.28.4 and 27.2.4).
_LOOK: Final = """\
select recovering,
       case when recovering then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end
           - '0/0'::pg_lsn,
       case when recovering then greatest(
           (select timeline_id from pg_control_checkpoint()),
           (select min_recovery_end_timeline from pg_control_recovery()),
           (select received_tli from pg_stat_wal_receiver))
       else ('x' || substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8))::bit(32)::int end,
       (select system_identifier from pg_control_system()),
       case when not recovering then pg_current_wal_insert_lsn() - '0/0'::pg_lsn end
from (select pg_is_in_recovery() as recovering) as server"""


@dataclass(frozen=True, slots=True)
class Sight:
    """A server as it was seen.

    Attributes:
        at: When it was asked, by the monotonic clock.
        standby: Whether it is a replica.
        position: Up to where it has replayed the log; of a primary, up to where it has flushed it.
        timeline: The history that its position belongs to.
        system: Which cluster it is, or is a copy of.
        written: Of a primary, a position behind every commit that was made before the look.
    """

    at: float
    standby: bool
    position: int
    timeline: int
    system: int
    written: int = 0


async def look_at(database: Database) -> Sight:
    """Ask a server.

    Raises:
        AppError: It does not answer.
    """
    at = monotonic()
    standby, position, timeline, system, written = await database.fetch_one(_LOOK)
    # A replica that has replayed nothing yet has no position.
    return Sight(at, standby, int(position or 0), timeline, system, int(written or 0))
