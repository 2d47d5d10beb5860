"""Variations of what is healthy. Each of them must raise nothing, whatever it looks like."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from shutil import rmtree

from ops_workflows.backup.policy import Kind
from ops_workflows.faults import broken_faults, key_faults, network_faults, odd
from ops_workflows.faults.kinds import Healthy, MakeHealthy
from ops_workflows.faults.look import BackupLook, DumpLook, Look
from ops_workflows.faults.proxy import failing
from ops_workflows.faults.stage import Stage
from ops_workflows.faults.tamper import Kept, put_in_parts
from ops_workflows.postgres.account import hand_over
from ops_workflows.repository.backup import utc_now
from ops_workflows.repository.layout import ROWS
from ops_workflows.repository.leases import Lease
from ops_workflows.repository.pins import pin, unpin

_MiB = 2**20
_SMALLEST_PART = 5 * _MiB

_USED = (
    "objects: uploaded again, the same bytes",
    "a pin",
    "a lease that was left",
    "an upload that was left",
    "an object that nobody knows",
)

_OF_A_DATABASE = (
    "a trigger on login",
    "a role's own settings: libraries that are not here, no time, no writing",
    "a database whose DROP was interrupted",
)
# They would change what is looked at, or keep it from being looked at, where a session of a superuser heeds them.
_LOGINS = """
    CREATE TABLE logins (at timestamptz);
    CREATE FUNCTION note_login() RETURNS event_trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF current_user = 'postgres' THEN INSERT INTO logins VALUES (now()); END IF;
    END
    $$;
    CREATE EVENT TRIGGER note_login ON login EXECUTE FUNCTION note_login()"""
_SETTINGS = """
    ALTER DATABASE peculiar SET event_triggers = on;
    ALTER ROLE postgres IN DATABASE peculiar SET session_preload_libraries = 'of_the_source_only';
    ALTER ROLE postgres IN DATABASE peculiar SET statement_timeout = '1ms';
    ALTER ROLE postgres IN DATABASE peculiar SET default_transaction_read_only = on"""
_INTERRUPTED = "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half_gone'"


def variations() -> list[Healthy]:
    """All of them."""
    return [
        Healthy(("an idle database", "a promoted timeline"), "backup", _as_it_is, fast=True),
        Healthy(("an incremental of an incremental",), "backup", _incremental),
        Healthy(_USED, "repository", _used_repository, fast=True),
        Healthy(("objects: the same bytes in other parts",), "repository", _other_parts, fast=True),
        Healthy(odd.AT_REST, "database", _odd_at_rest),
        Healthy(odd.AT_WORK, "database", _odd_at_work),
        Healthy(("a tablespace",), "database", _tablespace(Kind.FULL)),
        Healthy(("a tablespace, in an incremental backup",), "database", _tablespace(Kind.INCREMENTAL)),
        Healthy(_OF_A_DATABASE, "database", _own_ways),
        Healthy(("a table with pages that nobody wrote",), "database", broken_faults.unwritten_pages),
        Healthy(("a dump of all that",), "dump", _odd_dump),
        Healthy(("a dump",), "dump", _dump, fast=True),
        Healthy(("encrypted",), "key", _encrypted),
        Healthy(("recipients rotated, the old key kept",), "key", _rotated),
        Healthy(("S3 that fails now and then",), "network", _failing_now_and_then),
        Healthy(("all as it was, after all the faults",), "backup", _as_it_is),
    ]


@contextmanager
def _as_it_is(stage: Stage, _chance: Random) -> Iterator[Look]:
    yield stage.look()


@contextmanager
def _incremental(stage: Stage, _chance: Random) -> Iterator[Look]:
    yield stage.look(stage.scene.last)


@contextmanager
def _used_repository(stage: Stage, _chance: Random) -> Iterator[Look]:
    repository, backup = stage.scene.repository, stage.scene.backup
    store, layout = repository.store, repository.layout
    archive = layout.backup(backup.id, backup.archives()[0].name)
    for stored in backup.objects:
        Kept.of(store, layout.backup(backup.id, stored.name)).put_back(store)
    unknown = layout.backup(backup.id, "notes.txt")
    lease = f"{layout.restores(backup.id)}left.json"
    left = Lease(backup_id=backup.id, host="gone", process=1, renewed_at=utc_now())
    with ExitStack() as stack:
        pin(repository, backup.id, "of the fault suite")
        stack.callback(unpin, repository, backup.id)
        store.put(lease, left.model_dump_json().encode())
        store.put(unknown, b"Somebody's notes.\n")
        stack.callback(store.delete, [lease, unknown])
        stack.callback(store.abort_upload, archive, store.begin_upload(archive))
        yield stage.look()


@contextmanager
def _other_parts(stage: Stage, _chance: Random) -> Iterator[Look]:
    """As another tool copies it: small objects in one part of an upload, and what was one part whole."""
    repository, backup = stage.scene.repository, stage.scene.backup
    store, layout = repository.store, repository.layout
    keys = [layout.backup(backup.id, name) for name in (backup.archives()[0].name, ROWS)]
    archive, rows = (Kept.of(store, key) for key in keys)
    with ExitStack() as stack:
        for kept in (archive, rows):
            stack.callback(kept.put_back, store)
        if len(archive.content) > _SMALLEST_PART:
            put_in_parts(store, archive.key, archive.content, [_SMALLEST_PART, len(archive.content)])
        else:
            store.put(archive.key, archive.content)
        put_in_parts(store, rows.key, rows.content, [len(rows.content)])
        yield stage.look()


@contextmanager
def _odd_at_rest(stage: Stage, _chance: Random) -> Iterator[Look]:
    backup = stage.odd.at_rest
    yield BackupLook(stage.odd.source.settings, backup.system, backup.id, stage.progress)


@contextmanager
def _odd_at_work(stage: Stage, _chance: Random) -> Iterator[Look]:
    backup = stage.odd.at_work
    yield BackupLook(stage.odd.source.settings, backup.system, backup.id, stage.progress)


def _tablespace(kind: Kind) -> MakeHealthy:
    @contextmanager
    def make(stage: Stage, _chance: Random) -> Iterator[Look]:
        source = stage.other
        place = source.folder / "elsewhere"
        place.mkdir(mode=0o700)
        hand_over(place, source.server.account)
        with source.connected() as connection, ExitStack() as stack:
            stack.callback(rmtree, place)
            for undo, do in (
                ("DROP TABLESPACE elsewhere", f"CREATE TABLESPACE elsewhere LOCATION '{place}'"),
                ("DROP TABLE far", "CREATE TABLE far TABLESPACE elsewhere AS SELECT generate_series(1, 1000) AS n"),
            ):
                connection.execute(do.encode())
                stack.callback(connection.execute, undo.encode())
            if kind is Kind.INCREMENTAL:
                source.back_up()
                connection.execute("INSERT INTO far SELECT generate_series(1, 1000)")
            backup = source.back_up_and_plant(kind)
            yield BackupLook(source.settings, backup.system, backup.id, stage.progress)

    return make


@contextmanager
def _own_ways(stage: Stage, _chance: Random) -> Iterator[Look]:
    """Databases that alter whoever connects to them, or let nobody in at all."""
    source = stage.other
    with source.connected() as connection, ExitStack() as stack:
        for name in ("peculiar", "half_gone"):
            connection.execute(f"CREATE DATABASE {name}".encode())
            stack.callback(connection.execute, f"DROP DATABASE {name}".encode())
        source.run(_LOGINS, "peculiar")
        source.run(f"{_SETTINGS}; {_INTERRUPTED}")
        backup = source.back_up_and_plant()
        yield BackupLook(source.settings, backup.system, backup.id, stage.progress)


@contextmanager
def _odd_dump(stage: Stage, _chance: Random) -> Iterator[Look]:
    dump = stage.odd.dump
    yield DumpLook(stage.odd.source.settings, dump.system, dump.id, stage.progress)


@contextmanager
def _dump(stage: Stage, _chance: Random) -> Iterator[Look]:
    yield stage.look_at_dump()


@contextmanager
def _encrypted(stage: Stage, _chance: Random) -> Iterator[Look]:
    yield key_faults.look(stage, stage.sealed.settings("first"))


@contextmanager
def _rotated(stage: Stage, _chance: Random) -> Iterator[Look]:
    yield key_faults.look(stage, stage.sealed.settings("both", "second"))


@contextmanager
def _failing_now_and_then(stage: Stage, _chance: Random) -> Iterator[Look]:
    spoil = network_faults.now_and_then(failing(503, "SlowDown"))
    with network_faults.looking_through(stage, spoil) as look:
        yield look
