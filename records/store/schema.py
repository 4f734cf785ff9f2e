"""The tables, as steps from one version to the next. A step that was released is never changed.

    calls      one row a call, for lists and filters (`columns`)
    events     every event as its bytes were written; the truth, from which the rest is made
    contents   what was said: the only place with content, so erasing is deleting here
    sources    how far each source of a call is, which numbers are missing, what was signed
    turns, items, media, usages, tools     what pages and reports ask for, by column
    roots, leaves                          signed Merkle roots over the heads of chains

`erased_us` of a call stands outside of what events change. Tables by day (since 1970) are
partitions in Postgres.
"""

from __future__ import annotations

from collections.abc import Mapping

from records.store.columns import definitions
from records.store.database import Connection, Database
from records.store.errors import WrongSchema

BY_DAY = ("events", "contents", "media")
"""Tables that are partitioned by the day of the event, in the order in which they are written."""

_FIRST = (
    "CREATE TABLE calls (call_id TEXT PRIMARY KEY, erased_us BIGINT, {calls})",
    "CREATE INDEX calls_first ON calls (first_us)",
    "CREATE INDEX calls_key ON calls (tenant, key_id, first_us)",
    "CREATE INDEX calls_reason ON calls (end_reason, first_us)",
    "CREATE INDEX calls_model ON calls (model, first_us)",
    "CREATE INDEX calls_prompt ON calls (prompt_id, prompt_version, first_us)",
    "CREATE INDEX calls_v2v ON calls (v2v_p95_ms)",
    """CREATE TABLE events (
        call_id TEXT NOT NULL, source TEXT NOT NULL, number BIGINT NOT NULL, day BIGINT NOT NULL,
        wall_us BIGINT NOT NULL, kind TEXT NOT NULL, body {blob} NOT NULL,
        PRIMARY KEY (call_id, source, number, day)) {by_day}""",
    """CREATE TABLE contents (
        call_id TEXT NOT NULL, source TEXT NOT NULL, number BIGINT NOT NULL, day BIGINT NOT NULL,
        salt {blob} NOT NULL, content TEXT NOT NULL,
        PRIMARY KEY (call_id, source, number, day)) {by_day}""",
    """CREATE TABLE sources (
        call_id TEXT NOT NULL, source TEXT NOT NULL,
        events BIGINT NOT NULL, last_number BIGINT NOT NULL, last_hash {blob} NOT NULL,
        rooted_events BIGINT NOT NULL DEFAULT 0, touched_us BIGINT NOT NULL,
        PRIMARY KEY (call_id, source)) {clustered}""",
    "CREATE INDEX sources_unrooted ON sources (touched_us) WHERE rooted_events < events",
    """CREATE TABLE turns (
        call_id TEXT NOT NULL, turn BIGINT NOT NULL, wall_us BIGINT NOT NULL,
        final BOOLEAN NOT NULL, item_id TEXT NOT NULL, response_id TEXT NOT NULL,
        ended_ms {real}, heard_ms {real}, first_words_ms {real}, tool_started_ms {real},
        tool_ended_ms {real}, first_sound_ms {real}, sent_ms {real}, out_ms {real},
        unexplained_ms {real}, speculative BOOLEAN NOT NULL, discarded BIGINT NOT NULL,
        interrupted BOOLEAN NOT NULL, failed TEXT NOT NULL, tools TEXT NOT NULL,
        rtt_ms {real}, jitter_buffer_ms {real}, client_rtt_ms {real},
        client_jitter_buffer_ms {real}, PRIMARY KEY (call_id, turn)) {clustered}""",
    """CREATE TABLE items (
        call_id TEXT NOT NULL, item_id TEXT NOT NULL, first_us BIGINT NOT NULL,
        told_us BIGINT NOT NULL, role TEXT NOT NULL, type TEXT NOT NULL,
        response_id TEXT NOT NULL, final BOOLEAN NOT NULL, audio BOOLEAN NOT NULL,
        truncated BOOLEAN NOT NULL, heard_ms {real}, heard_chars BIGINT NOT NULL,
        tool_name TEXT NOT NULL, tool_call_id TEXT NOT NULL,
        source TEXT, number BIGINT, PRIMARY KEY (call_id, item_id)) {clustered}""",
    """CREATE TABLE media (
        call_id TEXT NOT NULL, source TEXT NOT NULL, number BIGINT NOT NULL, day BIGINT NOT NULL,
        wall_us BIGINT NOT NULL, direction TEXT NOT NULL, span_s {real} NOT NULL,
        packets BIGINT NOT NULL, lost BIGINT NOT NULL, recovered BIGINT NOT NULL,
        concealed_ms {real} NOT NULL, jitter_ms {real} NOT NULL, round_trip_ms {real},
        longest_silence_ms {real} NOT NULL, level_dbov {real}, late BIGINT NOT NULL,
        waiting_frames BIGINT NOT NULL, left_out BIGINT NOT NULL,
        PRIMARY KEY (call_id, source, number, day)) {by_day}""",
    """CREATE TABLE usages (
        call_id TEXT NOT NULL, source TEXT NOT NULL, number BIGINT NOT NULL, kind TEXT NOT NULL,
        wall_us BIGINT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL,
        response_id TEXT NOT NULL, amount {real} NOT NULL,
        PRIMARY KEY (call_id, source, number, kind)) {clustered}""",
    """CREATE TABLE tools (
        call_id TEXT NOT NULL, source TEXT NOT NULL, number BIGINT NOT NULL,
        wall_us BIGINT NOT NULL, name TEXT NOT NULL, tool_call_id TEXT NOT NULL,
        response_id TEXT NOT NULL, turn BIGINT NOT NULL, arguments_sha256 TEXT NOT NULL,
        duration_ms {real} NOT NULL, outcome TEXT NOT NULL,
        PRIMARY KEY (call_id, source, number)) {clustered}""",
    """CREATE TABLE roots (
        number BIGINT PRIMARY KEY, signed_us BIGINT NOT NULL, leaves BIGINT NOT NULL,
        statement {blob} NOT NULL, signature {blob} NOT NULL, key_id TEXT NOT NULL)""",
    """CREATE TABLE leaves (
        root BIGINT NOT NULL, place BIGINT NOT NULL, call_id TEXT NOT NULL, source TEXT NOT NULL,
        events BIGINT NOT NULL, last_number BIGINT NOT NULL, last_hash {blob} NOT NULL,
        PRIMARY KEY (root, place)) {clustered}""",
    "CREATE INDEX leaves_call ON leaves (call_id, source, root)",
)
# Lists of the newest calls of one tenant, and of those that live: among a million calls they would
# be sorted whole otherwise.
_SECOND = (
    "CREATE INDEX calls_tenant ON calls (tenant, first_us)",
    "CREATE INDEX calls_live ON calls (first_us) WHERE ended_us IS NULL",
)
MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST, _SECOND)
"""The statements of each version, from 1 on."""

VERSION = len(MIGRATIONS)


def migrate(database: Database) -> int:
    """Bring the schema to this version; the version that was there, 0 for none.

    Raises WrongSchema for a newer one, StoreUnavailable.
    """
    with database.transaction() as connection:
        connection.lock_schema()
        connection.run("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
        before = version_of(connection)
        check(before, at_least=0)
        for number, statements in enumerate(MIGRATIONS[before:], before + 1):
            for statement in statements:
                connection.run(_named(statement, database.types))
            connection.run("INSERT INTO schema_version VALUES (:version)", {"version": number})
    return before


def version_of(connection: Connection) -> int:
    """The version of the schema, 0 for none."""
    (row,) = connection.rows("SELECT MAX(version) AS version FROM schema_version")
    return row["version"] or 0


def check(version: int, at_least: int = VERSION) -> None:
    """Raise WrongSchema for a schema that this version cannot use."""
    if version > VERSION:
        raise WrongSchema(f"the store has schema {version}, and this version knows {VERSION}")
    if version < at_least:
        raise WrongSchema(f"the store has schema {version}; a recorder brings it to {VERSION}")


def _named(statement: str, types: Mapping[str, str]) -> str:
    return statement.format(calls=definitions().format(**types), **types)
