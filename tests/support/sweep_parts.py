"""The parts of the project that a sweep kills: what each finds to do, and what has to hold once it is done."""

import re
import secrets
import shutil
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg

from ops_workflows.backup.debris import sweep_debris
from ops_workflows.backup.dump import take_dump
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.postgres.processes import wait_until
from ops_workflows.postgres.programs import run
from ops_workflows.proof.drill import drill
from ops_workflows.repository.backup import Backup, utc_now
from ops_workflows.repository.canaries import canaries, note
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.drills import drills
from ops_workflows.repository.dump import Dump
from ops_workflows.repository.dumps import RECORD as DUMP_RECORD
from ops_workflows.repository.dumps import Dumps
from ops_workflows.repository.holdings import Holdings
from ops_workflows.repository.layout import RECORD, new_backup_id
from ops_workflows.repository.pins import pin
from ops_workflows.repository.proofs import newest
from ops_workflows.repository.records import sealed
from ops_workflows.repository.retention_facts import plan_retention
from ops_workflows.repository.rungs import Rung
from ops_workflows.repository.wal import history_key, segment_key, tail_key
from ops_workflows.restore.isolated import isolated_server
from ops_workflows.restore.target import MARK
from ops_workflows.settings import Settings
from tests.support.bucket import keys
from tests.support.continuous import SEGMENT, is_streaming, server_end, slot_at, values, wal_listing
from tests.support.sweep import Lived, Part, require_clean, require_whole

_LONG_AGO = timedelta(days=40)
_STATE = re.compile(r"^Database cluster state:\s+(.*)$", re.MULTILINE)


class BackingUp(Part):
    """A backup after a first one."""

    def __init__(self, lived: Lived, *options: str) -> None:
        super().__init__(lived, ("backup", *options))
        (self._first,) = lived.repository.backups()
        self._there = set(keys(self.settings))

    def ready(self) -> None:
        self.lived.repository.store.delete(set(keys(self.settings)) - self._there)

    def over(self) -> None:
        held = require_clean(self.settings, self.lived.repository)
        assert held.backups[0] == self._first
        assert len(held.backups) in {2, 3}  # one that was killed once its record was stored has made one, too


class CatchingUp(Part):
    """The log since the last time: the end of a segment of which there is a tail, a whole one, and a new tail."""

    def __init__(self, lived: Lived) -> None:
        super().__init__(lived, ("wal", "catch-up"))
        self._acknowledged = self._wanted = Lsn(0)

    def ready(self) -> None:
        for switch in (True, True, False):
            self.lived.commit(switch=switch)
        self._acknowledged, self._wanted = Lsn(0), server_end(self.lived.server)

    def is_done(self) -> bool:
        self._acknowledged = slot_at(self.lived.server, self.settings.wal_slot)
        assert all(each.end >= self._acknowledged for each in wal_listing(self.lived.repository).ranges())
        return super().is_done()

    def over(self) -> None:
        require_clean(self.settings, self.lived.repository)
        (only,) = wal_listing(self.lived.repository).ranges()
        assert only.start <= (self._acknowledged or only.start)
        assert only.end >= max(self._wanted, slot_at(self.lived.server, self.settings.wal_slot))


class CatchingUpAtFirst(CatchingUp):
    """The same where everything is new: the slot, and the place in the bucket."""

    def ready(self) -> None:
        super().ready()
        server, slot = self.lived.server, self.settings.wal_slot
        assert wait_until(lambda: not is_streaming(server, slot), 30)
        drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"
        with server.connect() as connection:
            connection.execute(drop, [slot])
        self.lived.settings = self.settings = self.settings.model_copy(update={"s3_prefix": _another("t")})


class Restoring(Part):
    """The latest moment, into a folder of which nothing is there."""

    def __init__(self, lived: Lived) -> None:
        self._place = lived.folder / "restored"
        self._target = self._place / "data"
        super().__init__(lived, ("restore", "--target-dir", str(self._target)))

    def ready(self) -> None:
        shutil.rmtree(self._place, ignore_errors=True)
        self._place.mkdir()
        self._place.chmod(0o711)

    def is_done(self) -> bool:
        """A finished restore is a database without a mark, of a server that was shut down: it is never replaced."""
        super().is_done()
        programs = self.lived.server.server.programs
        if (self._target / MARK).exists() or not (self._target / "global/pg_control").exists():
            return False
        state = _STATE.search(run(programs.path("pg_controldata"), self._target, timeout=20))
        return state is not None and state[1] == "shut down"

    def over(self) -> None:
        require_clean(self.settings, self.lived.repository)
        assert self.lived.servers() == []
        assert {entry.name for entry in self._place.iterdir()} == {"data", "data.run"}
        assert not (self._target / MARK).exists()
        feed = self._place / "data.run/wal"
        assert {entry.name for entry in (feed / "ready").iterdir()} == {history_key(2)}
        assert not list(feed.glob("*.part"))
        assert not (feed / "alive").exists()
        assert self._rows() == self.lived.rows

    def _rows(self) -> int:
        """How many it holds, said by a server over it."""
        source = self.lived.server.server
        server = isolated_server(source.programs, self._target, self._place / "look", {}, source.account)
        server.start()
        try:
            with psycopg.connect(server.dsn()) as connection:
                return int(values(connection, "SELECT count(*) FROM kept")[0])
        finally:
            server.stop()


class Drilling(Part):
    """A drill to a moment between canaries."""

    def __init__(self, lived: Lived) -> None:
        super().__init__(lived, ("drill",))
        drill(self.settings)
        self._first = set(keys(self.settings))

    def ready(self) -> None:
        self.lived.repository.store.delete(set(keys(self.settings)) - self._first)

    def over(self) -> None:
        repository = self.lived.repository
        sweep_debris(repository, utc_now(), 0)  # as retention does: the page of one that was killed before its record
        require_clean(self.settings, repository)
        assert self.lived.servers() == []
        assert list(self.settings.scratch.iterdir()) == []
        last = max(drills(repository), key=lambda each: each.at)
        assert last.passed
        shown = newest(repository, [last.backup_id])[last.backup_id]
        for what in ("drill", Rung.EXACT):
            assert shown[what].passed
            assert shown[what].evidence["drill_id"] == last.id


class Retaining(Part):
    """Something of every sort goes: a backup, a dump, log, a canary, old versions, and what killed processes left."""

    def __init__(self, lived: Lived) -> None:
        super().__init__(lived, ("retention", "--apply"))
        self.settings = self.settings.model_copy(update={"keep_versions_days": 0})
        take_dump(self.settings)
        self._kept = set(keys(self.settings))

    def ready(self) -> None:
        assert set(keys(self.settings)) == self._kept
        repository = self.lived.repository
        age(repository, repository)
        store, layout = repository.store, repository.layout
        half = new_backup_id(utc_now())
        store.put(layout.backup(half, "base.tar.zst"), b"half")
        store.begin_upload(layout.backup(half, "16999.tar.zst"))
        store.begin_upload(f"{layout.dumps}{half}/postgres.dump")

    def is_done(self) -> bool:
        assert set(keys(self.settings)) >= self._kept
        return super().is_done()

    def over(self) -> None:
        require_clean(self.settings, self.lived.repository)
        assert set(keys(self.settings)) == self._kept
        todo = plan_retention(self.settings, self.lived.repository)
        assert not [*todo.gone, *todo.gone_dumps, *todo.wal]


class Mirroring(Part):
    """A backup, log, canaries and proofs, into a new repository, which holds some things that it lets go of.

    Args:
        lived: What it works on.
        all_sorts: A dump and a pin, too: most of their objects are copied by the same code.
    """

    def __init__(self, lived: Lived, *, all_sorts: bool = True) -> None:
        super().__init__(lived, ("mirror",))
        if all_sorts:
            take_dump(self.settings)
            pin(lived.repository, "latest", "a pin, too")
        drill(self.settings)

    @property
    def _second(self) -> Settings:
        found = self.settings.mirrored()
        assert found is not None
        return found

    def ready(self) -> None:
        url = f"s3://{self.settings.s3_bucket}/{_another('second')}"
        self.settings = self.settings.model_copy(update={"mirror_url": url})
        repository = self.lived.repository
        second = open_repository(self._second, repository.layout.system)
        age(repository, second)
        segment = next(piece for piece in wal_listing(repository).pieces if piece.whole)
        tail = tail_key(segment.timeline, segment.start, Lsn(segment.start + 100), SEGMENT)
        second.store.put(second.layout.wal + tail, b"of a segment that is whole by now")

    def is_done(self) -> bool:
        require_whole(open_repository(self._second, self.lived.server.system))
        return super().is_done()

    def over(self) -> None:
        copy = open_repository(self._second, self.lived.server.system)
        first = require_clean(self.settings, self.lived.repository)
        second = require_clean(self._second, copy)
        assert first.backups == second.backups
        assert first.dumps == second.dumps
        assert _but_leases(first) == _but_leases(second)


def age(source: Repository, target: Repository) -> None:
    """Put copies of a backup and of dumps into a repository, as if they were old, and log and a canary from before."""
    ago, backup = utc_now() - _LONG_AGO, source.backups()[-1]
    start = Lsn(backup.start_lsn - backup.start_lsn % SEGMENT - 2 * SEGMENT)
    old = {"id": new_backup_id(ago), "started_at": ago, "finished_at": ago}
    _put_aged(source, target, backup, old | {"start_lsn": start, "stop_lsn": Lsn(start + 100)})
    for dump in Dumps(source).all():
        _put_aged(source, target, dump, old)
    for name in (
        segment_key(backup.timeline, start, SEGMENT),
        tail_key(backup.timeline, start + SEGMENT, start + SEGMENT + 100, SEGMENT),
    ):
        target.store.put(target.layout.wal + name, b"of long ago")
    note(target, replace(canaries(source)[0], before=ago, after=ago, token=secrets.token_hex(8)))


def _put_aged(source: Repository, target: Repository, record: Backup | Dump, old: dict[str, Any]) -> None:
    folder, name = ("backups", RECORD) if isinstance(record, Backup) else ("dumps", DUMP_RECORD)
    place = f"{target.layout.root}{folder}/{old['id']}/"
    for stored in record.objects:
        target.store.put(
            place + stored.name, source.store.get(f"{source.layout.root}{folder}/{record.id}/{stored.name}")
        )
    target.store.put(place + name, sealed(record.model_copy(update=old)))


def _but_leases(held: Holdings) -> dict[str, int]:
    return {name: size for name, size in held.objects.items() if not name.startswith("restores/")}


def _another(what: str) -> str:
    return f"{what}_{secrets.token_hex(4)}"
