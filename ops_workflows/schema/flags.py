"""The application's feature flags, changed in one transaction with a row of its audit log that says by whom.

The tables are the application's own: `feature_flags` and `audit_log` of its first migration.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from ops_workflows.errors import ConfigurationError, RefusedError
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.postgres.identity import who

_MOST = 100  # per cent
_COLUMNS = "name, description, enabled, rollout_percentage, conditions, updated_by"
_LIST = f"SELECT {_COLUMNS} FROM feature_flags ORDER BY name"  # noqa: S608 - columns are ours
_FIND = f"SELECT {_COLUMNS} FROM feature_flags WHERE name = %s FOR UPDATE"  # noqa: S608
_SET = """
    UPDATE feature_flags
    SET enabled = %(enabled)s, rollout_percentage = %(rollout_percentage)s, conditions = %(conditions)s,
        updated_by = %(updated_by)s
    WHERE name = %(name)s"""
_AUDIT = """
    INSERT INTO audit_log (action, entity_type, entity_id, old_values, new_values, user_agent)
    SELECT 'update', 'feature_flag', id, %(old)s, %(new)s, %(who)s FROM feature_flags WHERE name = %(name)s"""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag.

    Attributes:
        name: Its own.
        description: In words.
        enabled: Whether it is on at all.
        rollout_percentage: For how many of a hundred users, where it is on.
        conditions: Further conditions; the application understands them.
        updated_by: Who changed it last.
    """

    name: str
    description: str | None
    enabled: bool
    rollout_percentage: int
    conditions: dict[str, Any]
    updated_by: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be another; None leaves it as it is.

    Attributes:
        enabled: On or off.
        rollout_percentage: From 0 to 100.
        conditions: All of them.
    """

    enabled: bool | None = None
    rollout_percentage: int | None = None
    conditions: dict[str, Any] | None = None


def parse_conditions(text: str) -> dict[str, Any]:
    """Conditions as somebody types them: a JSON object.

    Raises:
        ConfigurationError: It is none.
    """
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"The conditions are no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise ConfigurationError('The conditions have to be a JSON object, such as {"country": "IN"}, or {} for none.')
    return found


def flags(dsn: str, *, timeout: int) -> list[Flag]:
    """All of them, by name.

    Raises:
        RefusedError: The schema has none.
        DatabaseError: PostgreSQL is unreachable or refuses us.
    """
    with connect(dsn, timeout=timeout) as connection, connection.cursor(row_factory=class_row(Flag)) as cursor:
        try:
            return cursor.execute(_LIST.encode()).fetchall()
        except psycopg.errors.UndefinedTable:
            raise RefusedError("There is no table feature_flags: run `ops migrate up` first.") from None


def set_flag(dsn: str, name: str, change: Change, *, timeout: int) -> tuple[Flag, Flag]:
    """Change a flag and say so in the audit log, or do neither.

    Returns:
        What it was, and what it is; the same where there was nothing to change, and then nothing is written.

    Raises:
        ConfigurationError: The percentage is none.
        RefusedError: There is no such flag.
        DatabaseError: PostgreSQL is unreachable or refuses us.
    """
    rollout = change.rollout_percentage
    if rollout is not None and not 0 <= rollout <= _MOST:
        raise ConfigurationError(f"A rollout of {rollout} % cannot be: give a whole number from 0 to {_MOST}.")
    with connect(dsn, timeout=timeout) as connection, connection.transaction():
        before = _find(connection, name)
        after = Flag(
            name=before.name,
            description=before.description,
            enabled=before.enabled if change.enabled is None else change.enabled,
            rollout_percentage=before.rollout_percentage if rollout is None else rollout,
            conditions=before.conditions if change.conditions is None else change.conditions,
            updated_by=before.updated_by,
        )
        if after == before:
            return before, before
        by = who()
        values = asdict(after) | {"conditions": Jsonb(after.conditions), "updated_by": by}
        connection.execute(_SET.encode(), values)
        audit = {"old": Jsonb(_audited(before)), "new": Jsonb(_audited(after)), "who": by, "name": name}
        connection.execute(_AUDIT.encode(), audit)
        return before, _find(connection, name)


def _find(connection: Connection, name: str) -> Flag:
    with connection.cursor(row_factory=class_row(Flag)) as cursor:
        try:
            found = cursor.execute(_FIND.encode(), [name]).fetchone()
        except psycopg.errors.UndefinedTable:
            raise RefusedError("There is no table feature_flags: run `ops migrate up` first.") from None
    if found is None:
        raise RefusedError(f"There is no feature flag {name!r}: see `ops flags list`. A migration makes new ones.")
    return found


def _audited(flag: Flag) -> dict[str, Any]:
    return {name: getattr(flag, name) for name in ("name", "enabled", "rollout_percentage", "conditions")}
