"""What migration files make of an empty database, found out by running them, and held against what a database is."""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version as version_of
from pathlib import Path

from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import class_row

from ops_workflows.errors import DatabaseError, RefusedError
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.postgres.inventory import EDITION, schema
from ops_workflows.postgres.programs import Programs, find_programs
from ops_workflows.restore.empty_server import create_database, empty_server
from ops_workflows.schema.apply import migrate_up
from ops_workflows.schema.catalogue import differences, without
from ops_workflows.schema.drift import digests
from ops_workflows.schema.files import Migration, read_migrations
from ops_workflows.schema.kept_catalogues import KeptCatalogues
from ops_workflows.schema.ledger import Ledger
from ops_workflows.schema.plan import NOTHING, Position, require_version
from ops_workflows.schema.session import connected
from ops_workflows.settings import Settings

_LEFT_OUT = (Path(__file__).parent / "left_out.sql").read_bytes()
_CIRCUMSTANCES = (Path(__file__).parent / "circumstances.sql").read_bytes()
_MOST_SENTENCES = 10


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A database as far as migrations decide it.

    Attributes:
        objects: Each object's identity and its definition's digest. Partitions by range are left out, but for the
            default one: which there are depends on the day.
        partitions: Tables that are attached as partitions, `schema.name`.
    """

    objects: dict[str, str]
    partitions: frozenset[str]

    @classmethod
    def read(cls, connection: Connection) -> "Catalogue":
        """That of the database that is connected to."""
        with connection.transaction():
            connection.execute("SET LOCAL search_path = ''")
            rows = connection.execute(_LEFT_OUT).fetchall()
            objects = schema(connection)
        named = {kind: {name for each, name in rows if each == kind} for kind in ("object", "table", "partition")}
        kept = {identity: digest for identity, digest in objects.items() if identity not in named["object"]}
        return cls(without(kept, named["table"]), frozenset(named["partition"]))


def catalogue_drift(settings: Settings, dsn: str, directory: Path) -> list[str]:
    """Where the database is not what the files make of an empty one, a sentence for each object, if not too many.

    Args:
        settings: Where PostgreSQL's programs are, and where a server may be made.
        dsn: Of the role that migrates.
        directory: The application's migrations.

    Raises:
        ConfigurationError: The folder is not one of migrations, or there are no programs of the server's major version.
        RefusedError: It cannot be told: the schema is dirty, at no version or at one without a file, or the files
            cannot be run in a server of our own.
        DatabaseError: PostgreSQL is unreachable or refuses us.
    """
    migrations = read_migrations(directory)
    with connected(dsn) as connection:
        ledger = Ledger(_circumstances(connection).schema)
        position, found = ledger.position(connection), Catalogue.read(connection)
        moved = ledger.position(connection) != position
    version = position.version
    if reason := _untellable(position, moved=moved):
        raise RefusedError(f"Whether the catalogue is what the files make cannot be told: {ledger} {reason}.")
    expected = produced(settings, dsn, migrations, [version])[version]
    clauses = differences(expected, found.objects, found.partitions)
    said = [
        f"{clause[0].upper()}{clause[1:]}, against what the migration files up to {version} make."
        for clause in clauses[:_MOST_SENTENCES]
    ]
    more = len(clauses) - len(said)
    return [*said, f"Nor are {more} further objects what these files make."] if more else said


def _untellable(position: Position, *, moved: bool) -> str:
    if moved:
        return "has just been migrated, ask again"
    if position.dirty:
        return f"is dirty at version {position.version}, say what is true first"
    return "has recorded no migration, apply some" if position.version == NOTHING else ""


def produced(
    settings: Settings, dsn: str, migrations: Sequence[Migration], versions: Collection[int]
) -> dict[int, dict[str, str]]:
    """The objects that there are when the files up to a version have been run in an empty database.

    They are run in a server of our own, in a database with the name, the encoding, the search path and the roles of the
    one that is asked about, by its owner, whom we make a superuser there. What came of it is kept in OPS_HOME.

    Args:
        settings: Where PostgreSQL's programs are, and where a server may be made.
        dsn: Of the role that migrates the database that is asked about.
        migrations: The application's, all of one folder.
        versions: Which are wanted; -1 for none applied.

    Raises:
        ConfigurationError: There are no programs of the server's major version, or this machine cannot run them.
        RefusedError: A version has no file, or the files cannot be run in a server of our own.
        DatabaseError: PostgreSQL is unreachable or refuses us.
    """
    for version in versions:
        require_version(version, migrations)
    with connected(dsn) as connection:
        circumstances = _circumstances(connection)
    kept = KeptCatalogues(settings.home / "catalogues")
    keys = {version: _key(circumstances, migrations, version) for version in sorted(versions)}
    found = {version: objects for version, key in keys.items() if (objects := kept.get(key)) is not None}
    if lacking := sorted(keys.keys() - found.keys()):
        made = _made(settings, circumstances, migrations, lacking)
        for version, objects in made.items():
            if _key(circumstances, migrations, version) == keys[version]:  # nobody has saved a file meanwhile
                kept.put(keys[version], objects)
        found |= made
    return found


@dataclass(frozen=True, slots=True)
class _Circumstances:
    major: int
    database: str
    encoding: str
    owner: str
    schema: str
    search_path: str
    roles: list[str]


def _circumstances(connection: Connection) -> _Circumstances:
    with connection.cursor(row_factory=class_row(_Circumstances)) as cursor:
        found = cursor.execute(_CIRCUMSTANCES).fetchone()
    if found is None or not found.schema:
        raise DatabaseError("The search_path names no existing schema to migrate: set it on the role or the database.")
    return found


def _made(
    settings: Settings, circumstances: _Circumstances, migrations: Sequence[Migration], versions: Sequence[int]
) -> dict[int, dict[str, str]]:
    programs = find_programs(settings.pg_bin_dir, circumstances.major)
    try:
        with _database(settings, programs, circumstances) as own:
            return dict(_run(own, migrations, versions))
    except DatabaseError as error:
        raise RefusedError(
            f"What the migration files up to {max(versions)} make of an empty database cannot be told: {error}"
        ) from error


@contextmanager
def _database(settings: Settings, programs: Programs, circumstances: _Circumstances) -> Iterator[str]:
    """An empty database in a server of our own; its DSN, for the owner."""
    with empty_server(settings, programs) as server:
        create_database(server, circumstances.database, circumstances.encoding, circumstances.roles)
        owner, home = sql.Identifier(circumstances.owner), sql.Identifier(circumstances.schema)
        with connect(server.dsn(circumstances.database)) as superuser:
            superuser.execute(sql.SQL("ALTER ROLE {} SUPERUSER LOGIN").format(owner))
            superuser.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(home, owner))
        path = circumstances.search_path.replace("\\", "\\\\").replace(" ", "\\ ")
        yield make_conninfo(server.dsn(circumstances.database, circumstances.owner), options=f"-c search_path={path}")


def _run(dsn: str, migrations: Sequence[Migration], versions: Sequence[int]) -> Iterator[tuple[int, dict[str, str]]]:
    applied = 0
    for version in versions:
        wanted = sum(migration.version <= version for migration in migrations)
        if wanted > applied:
            migrate_up(dsn, migrations[0].up.parent, limit=wanted - applied)
        applied = wanted
        with connected(dsn) as connection:
            yield version, Catalogue.read(connection).objects


def _key(circumstances: _Circumstances, migrations: Sequence[Migration], version: int) -> str:
    files = digests([migration for migration in migrations if migration.version <= version])
    all_of_it = [version_of("ops-workflows"), EDITION, _LEFT_OUT.decode(), asdict(circumstances), list(files.items())]
    return hashlib.sha256(json.dumps(all_of_it).encode()).hexdigest()
