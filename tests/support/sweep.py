"""A command killed at one call to the bucket after the other, and run again each time: what is swept, and the sweep."""

import secrets
import signal
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import batched, product
from pathlib import Path

import psutil

from ops_workflows.backup.canary import plant
from ops_workflows.backup.take import take_backup
from ops_workflows.backup.wal_receiver import catch_up
from ops_workflows.postgres.account import hand_over
from ops_workflows.postgres.processes import send
from ops_workflows.repository.backup import utc_now
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.drills import drill_ids
from ops_workflows.repository.holdings import WAL, Holdings
from ops_workflows.repository.leases import HOLDS, sweep_leases
from ops_workflows.repository.retention_facts import read_holdings
from ops_workflows.repository.wal import superseded
from ops_workflows.settings import Settings
from tests.support.bucket import pending
from tests.support.continuous import values, wal_listing
from tests.support.doomed import Doomed, Fate, Moment
from tests.support.servers import ScratchServer, fill_with_noise, scratch_server, with_heartbeats

_MEMORY = Path("/dev/shm")  # noqa: S108 - restores by the hundred, of which nothing has to outlast a power cut
_ROOM = 4 * 2**30
_FOLDERS = {"backups", "canaries", "drills", "dumps", "proofs", "restores", "wal"}
_READING = ("GET", "HEAD")
_IN_A_ROW = 8


@dataclass
class Lived:
    """A server that is backed up under a prefix and through a slot of its own, with rows in every part of its log.

    Attributes:
        server: It.
        settings: Retention keeps the newest backup only.
        folder: For what is restored; servers may go there.
        rows: How many have been committed, and are in the bucket.
    """

    server: ScratchServer
    settings: Settings
    folder: Path
    rows: int = 0

    @property
    def repository(self) -> Repository:
        return open_repository(self.settings, self.server.system)

    def commit(self, *, switch: bool = True) -> None:
        """One more row, the last of its segment or not."""
        with self.server.connect() as connection:
            connection.execute("INSERT INTO kept DEFAULT VALUES")
            if switch:
                connection.execute("SELECT pg_switch_wal()")
        self.rows += 1

    def servers(self) -> list[psutil.Process]:
        """Those that run over what was restored."""
        return [each for each in psutil.process_iter() if _stands_in(each, self.folder)]


@dataclass
class Part:
    """One command to be swept.

    Attributes:
        lived: What it works on.
        command: It.
    """

    lived: Lived
    command: tuple[str, ...]
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        self.settings = self.lived.settings

    def ready(self) -> None:
        """Make all as it was at first, with work to do."""

    def is_done(self) -> bool:
        """See to it that a kill has lost nothing; whether all was done by then, so that the same again is refused."""
        require_whole(self.lived.repository)
        return False

    def over(self) -> None:
        """See to it that the work is done, and nothing is left over."""
        require_clean(self.settings, self.lived.repository)


@contextmanager
def sweep_server(megabytes: int = 0) -> Iterator[ScratchServer]:
    """A server on its second timeline, with a table for the rows, and so much besides."""
    with scratch_server(summarize_wal="on") as server:
        with_heartbeats(server)
        if megabytes:
            fill_with_noise(server, megabytes)
        with server.connect() as connection:
            connection.execute("CREATE TABLE kept (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)")
        branch = server.server.data_dir / "recovery.signal"
        server.server.stop("fast")
        branch.touch(mode=0o600)
        hand_over(branch, server.server.account)
        server.server.options["restore_command"] = "false"
        server.server.start()
        with server.connect() as connection:
            connection.execute("CHECKPOINT")  # which makes the timeline known
        yield server


@contextmanager
def lived(server: ScratchServer, settings: Settings, *, segments: int = 2) -> Iterator[Lived]:
    """A backup, then so many segments, a row in each, then two canaries."""
    roomy = _MEMORY.is_dir() and psutil.disk_usage(str(_MEMORY)).free > _ROOM
    with tempfile.TemporaryDirectory(prefix="ops_sweep_", dir=_MEMORY if roomy else None) as name:
        folder = Path(name)
        folder.chmod(0o711)
        least = {"keep_daily": 1, "keep_weekly": 0, "keep_monthly": 0, "keep_debris_hours": 0}
        own = server.settings(settings, scratch_dir=folder / "scratch", wal_slot=f"s_{secrets.token_hex(4)}", **least)
        made = Lived(server, own, folder, rows_of(server))
        take_backup(own)
        for _ in range(segments):
            made.commit()
        for _ in range(2):
            plant(own)
        catch_up(own, 60)
        try:
            yield made
        finally:
            send(made.servers(), signal.SIGKILL)


def rows_of(server: ScratchServer) -> int:
    with server.connect() as connection:
        return int(values(connection, "SELECT count(*) FROM kept")[0])


class Sweep:
    """A part killed at one moment after the other.

    Attributes:
        met: The kinds of the calls at which it was killed, and whether they had been answered.
    """

    def __init__(self, part: Part, ops: Doomed) -> None:
        self._part = part
        self._ops = ops
        self.met: set[tuple[str, bool]] = set()

    def whole(self) -> tuple[str, ...]:
        """The calls of a run that nothing happens to."""
        self._part.ready()
        done = self._run()
        assert done.code == 0, done
        self._part.over()
        return done.seen

    def kill(self, moments: Sequence[Moment]) -> list[Moment]:
        """Kill it at these moments, one run after the other, then run it to its end; those that it did not come to."""
        missed = []
        self._part.ready()
        try:
            for at in moments:
                if not self._killed(at):
                    missed.append(at)
                    self._part.over()
                    self._part.ready()
                elif self._part.is_done():
                    self._again(code=1)
                    self._part.ready()
            self._again(code=0)
        except Exception as error:
            error.add_note(f"{self._part.command} was killed at {list(moments)}.")
            raise
        return missed

    def _killed(self, at: Moment) -> bool:
        done = self._run(at)
        if done.killed:
            self.met.add((at.kind, at.answered))
        else:
            assert done.code == 0, (at, done)
        return done.killed

    def _again(self, code: int) -> None:
        done = self._run()
        assert done.code == code, done
        self._part.over()

    def _run(self, at: Moment | None = None) -> Fate:
        return self._ops.ops(self._part.settings, self._part.lived.folder, *self._part.command, at=at)


def every_kind(part: Part, ops: Doomed) -> None:
    """Kill it before the first call of each kind, then once the last of the kind has been answered, then run it again.

    What only reads leaves the bucket as it was: there more kills follow one another before it is run to its end.
    """
    sweep = Sweep(part, ops)
    kinds = Counter(sweep.whole())
    writes, reads = list[Moment](), list[Moment]()
    for kind, times in kinds.items():
        moments = Moment(kind, 0, answered=False), Moment(kind, times - 1, answered=True)
        (reads if kind.startswith(_READING) else writes).extend(moments)
    _kill_all(sweep, (*batched(writes, 2), *batched(reads, _IN_A_ROW)), kinds)


def every_call(part: Part, ops: Doomed) -> None:
    """Kill it before each single call, and once each has been answered; run it again each time."""
    sweep = Sweep(part, ops)
    kinds = Counter(sweep.whole())
    moments = product(kinds, (False, True))
    _kill_all(sweep, [[Moment(kind, nth, side)] for kind, side in moments for nth in range(kinds[kind])], kinds)


def _kill_all(sweep: Sweep, batches: Iterable[Sequence[Moment]], kinds: Iterable[str]) -> None:
    missed = [at for batch in batches for at in sweep.kill(batch)]
    for at in missed:  # there may be fewer of a kind another time, and none where the run before has done the work
        if sweep.kill([at]):
            sweep.kill([replace(at, nth=0)])
    assert sweep.met == set(product(kinds, (False, True)))


def require_whole(repository: Repository) -> Holdings:
    """See to it that all that is listed is there."""
    held = read_holdings(repository, utc_now())
    named = [(f"backups/{each.id}/", each.objects) for each in held.backups]
    named += [(f"dumps/{each.id}/", each.objects) for each in held.dumps]
    for folder, objects in named:
        for stored in objects:
            assert held.objects.get(folder + stored.name) == stored.size, folder + stored.name
    return held


def require_clean(settings: Settings, repository: Repository) -> Holdings:
    """See to it that nothing is left over but leases of those that were killed, which end by themselves."""
    held = require_whole(repository)
    assert pending(settings) == []
    assert {name.partition("/")[0] for name in held.objects} <= _FOLDERS
    log = wal_listing(repository)  # whose names the holdings do not understand while there is no backup
    assert len(log.pieces) + len(log.histories) == sum(name.startswith(WAL) for name in held.objects)
    ids = {
        "backups": {each.id for each in held.backups},
        "dumps": {each.id for each in held.dumps},
        "drills": set(drill_ids(repository)),
    }
    for what, known in ids.items():
        assert {name.split("/")[1] for name in held.objects if name.startswith(f"{what}/")} == known
    assert not superseded(held.objects)
    assert len({name.rpartition("/")[2] for name in held.objects if name.startswith("restores/")}) <= _IN_A_ROW
    sweep_leases(repository, utc_now() + HOLDS + timedelta(minutes=1))
    assert list(repository.store.objects(repository.layout.restores())) == []
    return held


def _stands_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.name() == "postgres" and process.cwd().startswith(f"{folder}/")
    except (psutil.Error, OSError):  # it has ended meanwhile, or is another account's
        return False
