"""What each statement of a migration does to others: which locks it takes, and for how long; what it rewrites.

What a statement holds when it ends is asked in its own session, and exact. What it holds only meanwhile, as CREATE
INDEX CONCURRENTLY does, and who waits behind it, is seen by a second session that looks every 20 ms.
"""

import re
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files

import psycopg

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.connection import Connection, connect
from ops_workflows.schema.script import Ran
from ops_workflows.schema.source import Source
from ops_workflows.schema.statements import Statement

LOOK_SECONDS = 0.02
_HERE = files(__package__)
_TABLES = _HERE.joinpath("watch_tables.sql").read_text().encode()
_LOCKS = _HERE.joinpath("watch_locks.sql").read_text().encode()
_WAITS = _HERE.joinpath("watch_waits.sql").read_text().encode()
_ROWS = b"SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint FROM pg_catalog.pg_stat_xact_user_tables"
_TAG = re.compile(r"(?:INSERT 0|UPDATE|DELETE|MERGE|COPY) (?P<rows>\d+)")


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock on a table or view that was there before the file.

    Attributes:
        table: Its name.
        mode: As pg_locks calls it.
        seconds: From when it was had to the end of the transaction.
    """

    table: str
    mode: str
    seconds: float


@dataclass(slots=True)
class Watched:
    """What one statement did.

    Attributes:
        source: Its file.
        statement: Which.
        began: When, by the monotonic clock.
        seconds: How long it took, its own waiting included.
        waited: Seconds of these for which it waited for a lock.
        locks: That it took first, and how long they were held.
        waits: How long the longest wait behind it was, by the name of what waited.
        rewritten: Tables that got a new file.
        grown: Bytes by which the tables that it locked have grown, indexes included.
        rows: That it inserted, updated and deleted.
    """

    source: Source
    statement: Statement
    began: float
    seconds: float = 0.0
    waited: float = 0.0
    locks: list[Lock] = field(default_factory=list)
    waits: dict[str, float] = field(default_factory=dict)
    rewritten: tuple[str, ...] = ()
    grown: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    file: int
    size: int


@dataclass(slots=True)
class _Held:
    """A lock that is held: by which statement it was taken, and when."""

    by: Watched
    since: float
    name: str


type _Key = tuple[int, str]  # of a lock: the relation's oid, and the mode


class Watcher:
    """Watches the statements of one session; `watch` is for `Site.watch`.

    Attributes:
        watched: All statements so far, in order; of one that was tried again, the last attempt.
    """

    def __init__(self, observer: str) -> None:
        """Prepare to watch.

        Args:
            observer: DSN of a superuser for the session that looks on.
        """
        self.watched: list[Watched] = []
        self._observer = observer
        self._held: dict[_Key, _Held] = {}
        self._tables: dict[int, _Table] = {}
        self._known: frozenset[int] = frozenset()
        self._file: Source | None = None
        self._mutex = threading.Lock()
        # What the second session looks at: the statement that runs, or ran last in its file.
        self._now: Watched | None = None
        self._runs = False
        self._pid = 0
        self._seen: dict[_Key, tuple[float, float]] = {}
        self._had = 0.0
        self._waiting = 0.0

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Have the second session look on for the length of a `with`.

        Raises:
            DatabaseError: It cannot, or could not at some time: then waits are not known.
        """
        ready, over, failed = threading.Event(), threading.Event(), list[DatabaseError]()
        thread = threading.Thread(target=self._look, args=(ready, over, failed), name="migration watch", daemon=True)
        thread.start()
        ready.wait()
        try:
            yield
        finally:
            over.set()
            thread.join(30)
        if failed:
            raise failed[0]

    def end_file(self) -> None:
        """A file is through: its transaction has ended, and nothing is held any more."""
        with self._mutex:
            self._now = None
        self._release(time.monotonic(), keep=frozenset())
        self._file = None

    @contextmanager
    def watch(self, connection: Connection, source: Source, statement: Statement) -> Iterator[Callable[[Ran], None]]:
        """Be around one statement."""
        if self._file is not source or statement.start == source.statements[0].start:
            self._begin_file(connection, source)
        self.watched = [each for each in self.watched if each.source is not source or each.statement != statement]
        rows_before = self._rows(connection)
        self._release(time.monotonic(), keep=self._own_locks(connection))
        this = Watched(source, statement, time.monotonic())
        with self._mutex:
            self._now, self._runs, self._pid = this, True, connection.info.backend_pid
            self._seen, self._had, self._waiting = {}, this.began, 0.0
        try:
            yield lambda ran: self._ended(connection, this, ran, rows_before)
        finally:
            with self._mutex:
                self._runs = False
            this.seconds = this.seconds or time.monotonic() - this.began
            self.watched.append(this)

    def _begin_file(self, connection: Connection, source: Source) -> None:
        if self._file is source:  # it is tried again from its beginning
            self.watched = [each for each in self.watched if each.source is not source]
        self._held.clear()
        self._file = source
        self._tables = self._read_tables(connection, None)
        self._known = frozenset(self._tables)

    def _ended(self, connection: Connection, this: Watched, ran: Ran, rows_before: int) -> None:
        this.seconds = time.monotonic() - this.began
        with self._mutex:
            self._runs, seen, had = False, self._seen, self._had
        tag = _TAG.match(ran.tag)
        this.rows = max(self._rows(connection) - rows_before, int(tag["rows"]) if tag else 0)
        held = self._own_locks(connection)
        for key in sorted(key for key in held | seen.keys() if key[0] in self._known and key not in self._held):
            name = self._tables[key[0]].name
            first, last = seen.get(key, (had, had))
            if key in held:
                self._held[key] = _Held(this, min(had, first), name)
            else:
                this.locks.append(Lock(name, key[1], last - first + LOOK_SECONDS))
        self._compare(connection, this, {oid for oid, _ in held | seen.keys()})

    def _compare(self, connection: Connection, this: Watched, touched: set[int]) -> None:
        # Outside a transaction nothing is held by now: the statement may have locked any table.
        free = connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        after = self._read_tables(connection, None if free else sorted(touched))
        before = {oid: table for oid, table in self._tables.items() if free or oid in touched}
        rewritten = {oid for oid in before.keys() & after.keys() if before[oid].file != after[oid].file}
        this.rewritten = tuple(sorted(after[oid].name for oid in rewritten))
        counted = touched | rewritten
        this.grown = sum(table.size for oid, table in after.items() if oid in counted)
        this.grown -= sum(table.size for oid, table in before.items() if oid in counted)
        self._tables = {oid: table for oid, table in self._tables.items() if oid not in before} | after

    def _release(self, now: float, keep: Collection[_Key]) -> None:
        for key in [key for key in self._held if key not in keep]:
            held = self._held.pop(key)
            held.by.locks.append(Lock(held.name, key[1], now - held.since))

    @staticmethod
    def _own_locks(connection: Connection) -> frozenset[_Key]:
        return frozenset((oid, mode) for oid, mode in connection.execute(_LOCKS, [connection.info.backend_pid]))

    @staticmethod
    def _read_tables(connection: Connection, oids: list[int] | None) -> dict[int, _Table]:
        return {oid: _Table(*rest) for oid, *rest in connection.execute(_TABLES, [oids])}

    @staticmethod
    def _rows(connection: Connection) -> int:
        row = connection.execute(_ROWS).fetchone()
        return int(row[0]) if row else 0

    def _look(self, ready: threading.Event, over: threading.Event, failed: list[DatabaseError]) -> None:
        try:
            with connect(self._observer, statement_seconds=30, application_name="ops rehearsal") as connection:
                ready.set()
                while not over.wait(LOOK_SECONDS):
                    with self._mutex:
                        this, pid = self._now, self._pid
                    if this is not None:
                        self._note(this, connection.execute(_WAITS, {"pid": pid}).fetchall())
        except DatabaseError as error:
            failed.append(error)
        finally:
            ready.set()

    def _note(self, this: Watched, rows: list[tuple[object, ...]]) -> None:
        """Take in what was seen while this statement was the last, unless another has begun since."""
        now, waiting = time.monotonic(), 0.0
        with self._mutex:
            if self._now is not this:
                return
            for kind, name, oid, mode, said in rows:
                seconds = float(str(said))
                if kind == "waits":
                    this.waits[str(name)] = max(this.waits.get(str(name), 0.0), seconds)
                elif not self._runs:
                    continue
                elif kind == "wanted":
                    this.waited += seconds - (self._waiting if seconds >= self._waiting else 0.0)
                    self._had, waiting = now, seconds
                elif isinstance(oid, int):
                    first, _ = self._seen.get((oid, str(mode)), (now, now))
                    self._seen[oid, str(mode)] = (first, now)
            self._waiting = waiting
