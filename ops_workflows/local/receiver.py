"""The WAL receiver of the embedded stack: `ops wal stream` in the background, as every installation should have it."""

import sys
from pathlib import Path

from ops_workflows.errors import DatabaseError
from ops_workflows.local.daemon import Daemon
from ops_workflows.local.layout import Layout
from ops_workflows.local.place import Place
from ops_workflows.postgres.connection import connect
from ops_workflows.settings import Settings, dotenv, environment

_START_SECONDS = 30


def receiver(layout: Layout) -> Daemon:
    """The service, started or not."""
    return Daemon("wal", Path(sys.executable).resolve().name, layout.service("wal"))


def start_receiver(place: Place) -> None:
    """Start it; it is ready when it streams through its slot.

    Raises:
        OpsError: It did not come to stream.
    """
    folder = place.layout.folder
    settings = Settings.read(folder)
    receiver(place.layout).start(
        [sys.executable, "-m", "ops_workflows", "wal", "stream"],
        env=environment(**dotenv(folder)),
        log_file=place.layout.log("wal"),
        account=None,
        is_ready=lambda: _streams(settings),
        timeout=_START_SECONDS,
    )
    place.report(f"wal: streams into the bucket through slot {settings.wal_slot}")


def _streams(settings: Settings) -> bool:
    try:
        with connect(settings.require("backup_dsn")) as connection:
            query = "SELECT active FROM pg_replication_slots WHERE slot_name = %s"
            row = connection.execute(query, [settings.wal_slot]).fetchone()
    except DatabaseError:
        return False
    return bool(row and row[0])
