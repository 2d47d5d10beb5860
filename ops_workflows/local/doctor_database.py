"""`ops doctor`, the database: whether each role gets in, and whether the server lets itself be backed up."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from psycopg.rows import class_row

from ops_workflows.backup.preflight import dumps_only
from ops_workflows.errors import ConfigurationError, DatabaseError
from ops_workflows.local.findings import Finding, error, failed, ok, warning
from ops_workflows.local.layout import nearest_existing
from ops_workflows.postgres.connection import connect, describe
from ops_workflows.postgres.programs import find_programs
from ops_workflows.postgres.replication import ReplicationConnection
from ops_workflows.settings import Settings

FACTS = Path(__file__).with_name("doctor.sql").read_text()
ROLES = "apply deploy/postgres/roles.sql to the database, and set the role's password"
PURPOSES = {"backup_dsn": "backups", "owner_dsn": "migrations", "upkeep_dsn": "heartbeats and upkeep"}


@dataclass(frozen=True)
class Facts:
    """A row of doctor.sql."""

    major: int
    version: str
    wal_level: str
    max_senders: int
    senders: int
    summarize_wal: str | None
    checksums: str
    slot_keeps: str
    may_replicate: bool
    may_read: bool
    bytes: int


def look_at_database(settings: Settings) -> Iterator[Finding]:
    """A finding for each role, then for the server as the role that backs up sees it."""
    for field, purpose in PURPOSES.items():
        name, variable = f"role for {purpose}", f"OPS_{field.upper()}"
        dsn = getattr(settings, field)
        if dsn is None:
            what, do = f"{variable} is not set", f"{ROLES}; then set {variable}, or run `ops up` for the embedded stack"
            yield error(name, what, do) if field == "backup_dsn" else warning(name, what, do)
            continue
        try:
            with connect(dsn.get_secret_value(), timeout=settings.connect_timeout_seconds) as connection:
                yield ok(name, describe(dsn.get_secret_value()))
                if field != "backup_dsn":
                    continue
                with connection.cursor(row_factory=class_row(Facts)) as cursor:
                    facts = cursor.execute(FACTS).fetchone()
        except (DatabaseError, ConfigurationError) as reason:
            yield failed(name, reason)
            continue
        if facts is None:
            continue
        yield from _judge(facts, settings)
        if only := dumps_only(settings):
            do = "run `ops dump` as often as the application can bear to lose what came since"
            yield warning("base backups", only, do)
        else:
            yield from _judge_replication(facts)
            yield _replication(dsn.get_secret_value(), settings)


def _judge(facts: Facts, settings: Settings) -> Iterator[Finding]:
    try:
        find_programs(settings.pg_bin_dir, facts.major)
        yield ok("server", f"PostgreSQL {facts.version}, {facts.bytes / 1e9:.1f} GB")
    except ConfigurationError as reason:
        yield failed("server", reason)
    room = shutil.disk_usage(nearest_existing(settings.scratch)).free
    if room < facts.bytes:
        what = f"{settings.scratch} has room for {room / 1e9:.1f} GB, the database has {facts.bytes / 1e9:.1f} GB"
        yield warning("room for restores", what, "set OPS_SCRATCH_DIR to a folder with more room")
    if not facts.may_read:
        do = "run GRANT pg_read_all_data TO …, as roles.sql does"
        yield error("reading", "the role for backups cannot read every table, so restores cannot be compared", do)
    if facts.checksums == "off":
        do = "stop the server and run pg_checksums --enable"
        yield warning("data checksums", "are off, so damage on disk goes into backups unnoticed", do)


def _judge_replication(facts: Facts) -> Iterator[Finding]:
    if facts.wal_level == "minimal":
        do = "ALTER SYSTEM SET wal_level = 'replica', then restart the server"
        yield error("wal_level", "is minimal, with which no base backup can be taken", do)
    if not facts.may_replicate:
        yield error("REPLICATION", "the role for backups lacks it", "run ALTER ROLE … REPLICATION, as roles.sql does")
    if facts.senders >= facts.max_senders:
        what = f"all {facts.max_senders} WAL senders are taken"
        yield error("WAL senders", what, "raise max_wal_senders, or end a connection in pg_stat_replication")
    else:
        yield ok("WAL senders", f"{facts.max_senders - facts.senders} of {facts.max_senders} are free")
    if facts.summarize_wal == "off":
        do = "ALTER SYSTEM SET summarize_wal = on, then SELECT pg_reload_conf()"
        yield warning("summarize_wal", "is off, so incremental backups are impossible", do)
    if facts.slot_keeps == "-1":
        what = "is not set: while nobody takes the WAL from a slot, it fills the server's disk"
        yield warning("max_slot_wal_keep_size", what, "set it to less than the disk has room for, such as '10GB'")


def _replication(dsn: str, settings: Settings) -> Finding:
    """Whether the server really lets the role replicate: its privilege, pg_hba.conf and a free sender at once."""
    name = "replication"
    try:
        with ReplicationConnection(dsn, timeout=settings.connect_timeout_seconds, stall_seconds=settings.stall_seconds):
            return ok(name, "the server lets the role for backups replicate")
    except DatabaseError as reason:
        return failed(name, reason)
