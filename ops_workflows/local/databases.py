"""The three PostgreSQL servers of the embedded stack: the application's primary, its standby, and Dagster's own."""

import shutil
from contextlib import AbstractContextManager
from pathlib import Path

from psycopg import sql
from psycopg.conninfo import make_conninfo

from ops_workflows.errors import ConfigurationError, DatabaseError, RefusedError
from ops_workflows.local.credentials import PRIMARY_ROLES, passfile_line
from ops_workflows.local.layout import write_private
from ops_workflows.local.place import HOST, Place
from ops_workflows.postgres.cluster import clone_cluster, create_cluster, set_password
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.postgres.processes import wait_until
from ops_workflows.postgres.server import Server

DATABASE = "panchangam"
SLOT = "standby"
ROLES_FILE = Path(__file__).parents[2] / "deploy/postgres/roles.sql"
START_SECONDS = 60
STREAMING_SECONDS = 20

ACCESS_RULES = """\
# database  user                    address       method
host  replication  ops_backup,ops_standby  127.0.0.1/32  scram-sha-256
host  all          ops_standby             127.0.0.1/32  reject
host  all          all                     127.0.0.1/32  scram-sha-256
"""
COMMON = {"log_timezone": "UTC", "timezone": "UTC", "log_line_prefix": "%m [%p] %q%u@%d "}
PRIMARY = COMMON | {
    "wal_level": "replica",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    # So that a standby which is gone for long costs at most this much disk; it is cloned anew then.
    "max_slot_wal_keep_size": "1GB",
    "summarize_wal": "on",
}
# Dagster's event log may lose its last fraction of a second in a crash; it writes a great many small transactions.
DAGSTER = COMMON | {"synchronous_commit": "off", "max_connections": "200"}


def server(place: Place, name: str, **options: str) -> Server:
    """The PostgreSQL server `name` of the stack, started or not."""
    listen = {"listen_addresses": HOST, "port": str(place.ports[name]), "unix_socket_directories": ""}
    return Server(
        place.programs,
        place.layout.service(name) / "data",
        log_file=place.layout.log(name),
        options=listen | {"cluster_name": name} | options,
        account=place.account,
    )


def start_primary(place: Place) -> None:
    """The application's database: made at the first start, with its roles; their passwords are set at each."""
    primary = _started(place, "primary", "postgres", PRIMARY)
    with _superuser(place, "primary") as connection:
        _create_database(connection, DATABASE)
    with _superuser(place, "primary", DATABASE) as connection:
        connection.execute(_roles_sql())
        for role in PRIMARY_ROLES:
            set_password(connection, role, place.credentials[role])
    place.report(f"primary: PostgreSQL {place.programs.major} at {HOST}:{primary.port}, database {DATABASE}")


def start_standby(place: Place) -> None:
    """A hot standby that streams from the primary through a slot; one that cannot follow any more is cloned anew.

    Raises:
        RefusedError: It was promoted: it may hold rows that the primary has not.
        DatabaseError: It does not stream from the primary.
    """
    folder = place.layout.service("standby")
    passfile = folder / "pgpass"
    line = passfile_line(place.ports["primary"], "ops_standby", place.credentials["ops_standby"])
    write_private(passfile, line, place.account)
    source = make_conninfo(
        host=HOST, port=place.ports["primary"], user="ops_standby", passfile=str(passfile), sslmode="disable",
        gssencmode="disable", application_name="standby",
    )  # fmt: skip
    standby = server(place, "standby", primary_conninfo=source, primary_slot_name=SLOT)
    if standby.data_dir.exists() and not (standby.data_dir / "standby.signal").exists():
        raise RefusedError(
            f"The standby in {standby.data_dir} was promoted and may hold what the primary has not, so it is left "
            "alone: save what you need from it, then begin anew with `ops up --fresh`."
        )
    if not (standby.data_dir.exists() and _follows(place, standby)):
        if standby.data_dir.exists():
            place.report("standby: it cannot follow the primary any more and is cloned anew")
            standby.stop("immediate")
            shutil.rmtree(standby.data_dir)
        _renew_slot(place)
        clone_cluster(place.programs, source, standby.data_dir, slot=SLOT, account=place.account)
        standby.start(START_SECONDS)
        if not wait_until(lambda: is_streaming(place), STREAMING_SECONDS):
            raise DatabaseError(f"The standby does not stream from the primary: see {standby.log_file}.")
    place.report(f"standby: streams from the primary, at {HOST}:{standby.port}")


def start_dagster(place: Place) -> None:
    """Dagster's own storage: small, and apart from what Dagster protects."""
    dagster = _started(place, "dagster", "dagster_postgres", DAGSTER)
    with _superuser(place, "dagster") as connection:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = 'dagster'").rowcount == 0:
            connection.execute("CREATE ROLE dagster LOGIN")
        set_password(connection, "dagster", place.credentials["dagster"])
        _create_database(connection, "dagster")
        connection.execute("ALTER DATABASE dagster OWNER TO dagster")
    place.report(f"dagster: PostgreSQL for Dagster's storage, at {HOST}:{dagster.port}")


def is_streaming(place: Place) -> bool:
    """Whether the primary sends its WAL to the standby right now."""
    query = "SELECT FROM pg_stat_replication WHERE application_name = 'standby' AND state = 'streaming'"
    with _superuser(place, "primary") as connection:
        return connection.execute(query).rowcount > 0


def _started(place: Place, name: str, password: str, configuration: dict[str, str]) -> Server:
    """The server `name`, running; its cluster is made first if there is none."""
    found = server(place, name)
    if not found.data_dir.exists():
        create_cluster(
            place.programs,
            found.data_dir,
            superuser_password=place.credentials[password],
            configuration=configuration,
            access_rules=ACCESS_RULES,
            account=place.account,
        )
    found.start(START_SECONDS)
    return found


def _superuser(place: Place, name: str, database: str = "postgres") -> AbstractContextManager[Connection]:
    dsn = make_conninfo(
        host=HOST, port=place.ports[name], user="postgres", dbname=database, passfile=str(place.credentials.passfile)
    )
    return connect(dsn)


def _create_database(connection: Connection, name: str) -> None:
    if connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).rowcount == 0:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _roles_sql() -> bytes:
    if not ROLES_FILE.is_file():
        raise ConfigurationError(f"{ROLES_FILE} is not there: the embedded stack runs from a clone of the repository.")
    return ROLES_FILE.read_bytes()


def _follows(place: Place, standby: Server) -> bool:
    """Whether the standby that is there starts and streams; without its slot's WAL it never will."""
    usable = "SELECT FROM pg_replication_slots WHERE slot_name = %s AND wal_status IN ('reserved', 'extended')"
    with _superuser(place, "primary") as connection:
        if connection.execute(usable, [SLOT]).rowcount == 0:
            return False
    try:
        standby.start(START_SECONDS)
    except DatabaseError as error:
        place.report(f"standby: {error}")
        return False
    return wait_until(lambda: is_streaming(place), STREAMING_SECONDS)


def _renew_slot(place: Place) -> None:
    """A fresh slot that holds back WAL from now on; the old one may have lost what it held."""
    with _superuser(place, "primary") as connection:
        connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", [SLOT]
        )
        connection.execute("SELECT pg_create_physical_replication_slot(%s, true)", [SLOT])
