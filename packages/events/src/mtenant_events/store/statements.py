"""What a relay says to the server, as text: nothing here sends it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from psycopg import sql

from mtenant_events.store.row import Failure, Row

CHANNEL: Final = "mtenant_outbox"
"""The channel on which processes without a relay wake the others' relays."""

SHARDS: Final = 16
"""Into how many parts the tenants are divided. A part is one relay's at a time."""

MOST_SHARDS: Final = SHARDS // 2
"""How many of them one batch takes: a second relay finds the other half."""

MOST_BYTES: Final = 8 * 1024 * 1024
"""How much one batch takes, but for its last row: it is all in memory at once."""

STALE: Final = "30s"
"""After how long the server ends a batch that nobody goes on with, and frees its locks."""

LOCK_CLASS: Final = 0x6D746576
"""The first key of the relays' advisory locks ("mtev"); the second is the shard's number."""

# The plans must not depend on statistics, which of a queue are always old: empty when they were
# taken, and a flood now. Every access is by the primary key, in its order, or by a row's place: a bitmap
# or a sort would read all that a tenant has for the few rows of a batch.
#
# READ WRITE, because a standby would let us read, publish, and not delete. A row whose deletion is lost
# in a crash of the server is published again under its message id, so the commit need not reach the
# disk. A relay whose machine is gone holds its locks until the server notices.
_BEGIN: Final = sql.SQL("""\
BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE;
SELECT set_config('search_path', 'pg_catalog, pg_temp', true),
  set_config('mtenant.relay', 'on', true),
  set_config('synchronous_commit', 'off', true),
  set_config('enable_seqscan', 'off', true),
  set_config('enable_bitmapscan', 'off', true),
  set_config('enable_sort', 'off', true),
  set_config('idle_in_transaction_session_timeout', {stale}, true)""")

# From tenant to tenant along the primary key, so that it costs a step a tenant and not a step a row.
# The lock is tried in a statement of its own: the next one's snapshot is taken after it was granted,
# and sees what the last holder has deleted. A filter above OFFSET and below LIMIT locks no more
# shards than it takes.
_CLAIM: Final = sql.SQL("""\
WITH RECURSIVE first AS (
  (SELECT tenant, id, created_at FROM eventing.outbox ORDER BY tenant, id LIMIT 1)
  UNION ALL
  SELECT next.* FROM first, LATERAL (
    SELECT o.tenant, o.id, o.created_at FROM eventing.outbox o WHERE o.tenant > first.tenant
    ORDER BY o.tenant, o.id LIMIT 1) next
), waiting AS (
  SELECT tenant, id, created_at, (hashtextextended(tenant, 0) & {last})::int AS shard FROM first
), shards AS (
  SELECT DISTINCT shard, (shard - {first}) & {last} AS turn FROM waiting ORDER BY turn OFFSET 0
), claimed AS MATERIALIZED (
  SELECT shard, turn FROM shards WHERE pg_try_advisory_xact_lock({lock}, shard) LIMIT {most}
)
SELECT set_config('mtenant.relay_tenants', coalesce(array_agg(tenant)
    FILTER (WHERE shard IN (SELECT shard FROM claimed)), '{{}}')::text, true),
  (SELECT count(*) FROM shards) > (SELECT count(*) FROM claimed),
  (SELECT shard FROM claimed ORDER BY turn DESC LIMIT 1),
  coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8
FROM waiting""")

# Of each tenant as many rows as it may have, oldest first; then a row of each in turn, until the
# batch is full, by rows or by bytes. What is taken of a tenant is so always the beginning of what it has, which keeps the
# order. A row is left out as long as an earlier one of its key is delayed.
_PICK: Final = sql.SQL("""\
WITH waiting AS (
  SELECT tenant, least({size}, 2 * ceil({size}::float8 / count(*) OVER ()))::int AS share
  FROM unnest(current_setting('mtenant.relay_tenants')::text[]) AS tenant
), batch AS (
  SELECT o.*, share, row_number() OVER (PARTITION BY o.tenant ORDER BY o.id) AS turn
  FROM waiting, LATERAL (
    SELECT o.ctid AS place, o.id, o.tenant, o.key, o.subject, o.headers, o.body, o.attempts
    FROM eventing.outbox o
    WHERE o.tenant = waiting.tenant AND (o.delayed_until IS NULL OR o.delayed_until <= now())
      AND NOT EXISTS (
        SELECT FROM eventing.outbox d WHERE d.tenant = o.tenant AND d.key = o.key AND d.id < o.id
          AND d.delayed_until > now())
    ORDER BY o.id LIMIT waiting.share) o
  ORDER BY turn, id LIMIT {size}
), fitting AS (
  SELECT *, sum(octet_length(body)) OVER (ORDER BY turn, id) - octet_length(body) AS before
  FROM batch
)
SELECT place::text, id, tenant, key, subject, headers, body, attempts, turn = share
FROM fitting WHERE before < {bytes} ORDER BY id""")

# By place, which needs no index and no plan; the id is looked at too, should the place have been
# vacuumed and used again.
_DELETE: Final = (
    "DELETE FROM eventing.outbox WHERE ctid = ANY ('{%s}'::tid[]) AND id = ANY ('{%s}'::bigint[])"
)
_DELAY: Final = sql.SQL(
    "UPDATE eventing.outbox o SET attempts = o.attempts + 1, last_error = f.error,"
    " delayed_until = clock_timestamp() + make_interval(secs => f.seconds)"
    " FROM (VALUES {rows}) f (place, id, error, seconds) WHERE o.ctid = f.place AND o.id = f.id"
)


@lru_cache(maxsize=SHARDS)  # of one size in practice: to put it together costs more than to send it
def take(size: int, first: int, largest: int) -> bytes:
    """Return the statements that begin a batch; the last two tell what was claimed, and the rows.

    Args:
        size: How many rows it takes at most.
        first: The shard to begin with: each gets its turn, also while those before it are stuck.
        largest: How many bytes it takes, but for its last row.
    """
    claim = _CLAIM.format(
        first=sql.Literal(first),
        last=sql.Literal(SHARDS - 1),
        lock=sql.Literal(LOCK_CLASS),
        most=sql.Literal(MOST_SHARDS),
    )
    pick = _PICK.format(size=sql.Literal(size), bytes=sql.Literal(largest))
    return sql.SQL("; ").join([_BEGIN.format(stale=sql.Literal(STALE)), claim, pick]).as_bytes()


def finish(sent: Iterable[Row], failed: Iterable[Failure]) -> sql.Composed:
    """Return the statements that end a batch."""
    said: list[sql.Composable] = []
    if gone := list(sent):
        # The server's own words, with nothing in them to escape; a Literal would look for it.
        places, ids = (f'"{row.place}"' for row in gone), (str(row.id) for row in gone)
        said.append(sql.SQL(_DELETE % (",".join(places), ",".join(ids))))
    values = [
        sql.SQL("({}::tid, {}::bigint, {}, {}::float8)").format(
            sql.Literal(one.row.place),
            sql.Literal(one.row.id),
            sql.Literal(one.error),
            sql.Literal(one.seconds),
        )
        for one in failed
    ]
    if values:
        said.append(_DELAY.format(rows=sql.SQL(", ").join(values)))
    return sql.SQL("; ").join([*said, sql.SQL("COMMIT")])
