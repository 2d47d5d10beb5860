"""A server with a past, to be restored in place."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops_workflows.backup.take import take_backup
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.settings import Settings
from tests.support.continuous import Traffic, caught_up, receiving, values
from tests.support.servers import ScratchServer, scratch_server


@dataclass
class Lived:
    """A server that has `all` rows now and had `early` rows at `place`; all of its log is in the bucket."""

    server: ScratchServer
    settings: Settings
    traffic: Traffic
    place: Lsn
    early: set[int]
    all: set[int]

    @property
    def data_dir(self) -> Path:
        return self.server.server.data_dir

    @property
    def repository(self) -> Repository:
        return open_repository(self.settings)

    def names(self) -> set[str]:
        """What lies where the data directory does."""
        return {path.name for path in self.data_dir.parent.iterdir()}

    def aside(self) -> list[Path]:
        return sorted(self.data_dir.parent.glob("data.before-*"))

    def rows(self) -> set[int]:
        with self.server.connect() as connection:
            return set(values(connection, "SELECT id FROM traffic"))

    def started(self) -> set[int]:
        """The rows of what now lies in the data directory; its server is left stopped."""
        self.server.server.start()
        try:
            return self.rows()
        finally:
            self.server.server.stop("fast")

    def put_back(self) -> set[int]:
        """The rows of what was moved aside, put back in the place of what is there."""
        self.data_dir.rename(self.data_dir.with_name("tried"))
        self.aside()[0].rename(self.data_dir)
        return self.started()


@contextmanager
def lived_server(settings: Settings) -> Iterator[Lived]:
    """A server that runs, and whose receiver has shipped all and left."""
    with scratch_server(track_commit_timestamp="on") as server:
        traffic = Traffic(server.dsn("postgres"))
        traffic.prepare()
        own = server.settings(settings, wal_flush_seconds=0.2, primary_data_dir=server.server.data_dir)
        with receiving(own, server):
            take_backup(own)
            with traffic.running():
                traffic.more(20)
            with server.connect() as connection:
                place = Lsn.parse(values(connection, "SELECT pg_current_wal_insert_lsn()::text")[0])
            early = traffic.ids()
            with traffic.running():
                traffic.more(20)
            caught_up(server)
        yield Lived(server, own, traffic, place, early, traffic.ids())
