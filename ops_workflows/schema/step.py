"""One step carried out: whole, in one transaction with the version that it leads to; or statement by statement.

Whole, there is nothing in between: a run that is killed has done the step or has not. Where PostgreSQL refuses that, as
with CREATE INDEX CONCURRENTLY, the version is marked dirty first, as golang-migrate does, and the history knows how far
the file has come; see `resume`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from random import SystemRandom

import psycopg

from ops_workflows.errors import DatabaseError, OpsError
from ops_workflows.postgres.connection import Connection
from ops_workflows.schema.half_done import clear_the_way, may_commit
from ops_workflows.schema.history import History, Result
from ops_workflows.schema.ledger import Ledger
from ops_workflows.schema.plan import Position, Step
from ops_workflows.schema.script import LockNotHadError, Ran, require_idle, require_open, run_statement, transaction
from ops_workflows.schema.session import Patience
from ops_workflows.schema.source import Source
from ops_workflows.schema.statements import Statement

_SHORTEST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 8.0
_CHANCE = SystemRandom()


type Watch = Callable[[Connection, Source, Statement], AbstractContextManager[Callable[[Ran], None]]]


@contextmanager
def unwatched(_connection: Connection, _source: Source, _statement: Statement) -> Iterator[Callable[[Ran], None]]:
    """For runs that nobody looks at."""
    yield lambda _ran: None


@dataclass(frozen=True, slots=True)
class Site:
    """A schema that is being migrated.

    Attributes:
        connection: Alone behind the locks of migrations.
        ledger: Where the version is recorded.
        history: Where the attempts are.
        patience: How long to wait for what.
        say: Hears of waits.
        watch: Is around each statement, and hears what it did.
    """

    connection: Connection
    ledger: Ledger
    history: History
    patience: Patience
    say: Callable[[str], None]
    watch: Watch = unwatched


@dataclass
class StepRun:
    """One step on its way.

    Attributes:
        site: Where.
        step: Which.
        source: Its file.
        waited: Seconds that went by with attempts that did not get their locks.
        warnings: What PostgreSQL warned of.
    """

    site: Site
    step: Step
    source: Source
    waited: float = 0.0
    warnings: tuple[str, ...] = ()
    _began: float = field(default_factory=time.monotonic)

    def take(self) -> None:
        """Carry it out.

        Raises:
            DatabaseError: It failed. Of a file that is run whole nothing is left, and the version is what it was.
        """
        if self.source.whole:
            self._whole()
        else:
            self.finish_piecewise(self._mark_dirty(), 0)

    def finish_piecewise(self, entry: int | None, done: int) -> None:
        """Carry out what is left of a file that is run statement by statement.

        Args:
            entry: Its number in the history.
            done: How many of its statements have been carried out.
        """
        site, statements = self.site, self.source.statements
        connection, torn = site.connection, False
        try:
            self._set_timeouts(local=False)
            for number, statement in enumerate(statements[done:], start=done + 1):
                torn = _is_idle(connection) and may_commit(self.source, statement)
                self._one(entry, number, statement)
                torn = False
                if _is_idle(connection):
                    done = number
            require_idle(connection, self.source)
        except (OpsError, psycopg.Error) as error:
            if not connection.closed:
                connection.rollback()  # of a transaction of the file's own, which would not take the note
                # What has failed is begun anew or gone on with; of what is torn nobody knows how far it came.
                result = Result.RUNNING if torn else Result.FAILED
                site.history.finish(connection, entry, result, waited=self.waited, said=str(error))
            raise DatabaseError(
                f"{error} {site.ledger} is left at version {self.step.target}, marked dirty{self._left(done, torn)}"
            ) from error
        with connection.transaction():
            self.site.ledger.record(connection, Position(self.step.target))
            self.site.history.finish(connection, entry, Result.APPLIED, waited=self.waited)

    def _left(self, done: int, torn: bool) -> str:
        """What is left of a file whose run has ended early, and what to do."""
        if torn:
            return (
                ", and how much of this statement was committed cannot be told: see for yourself, and say what is "
                "true: `ops migrate force` with its version or, to run the file again, with the version before."
            )
        if self.site.connection.closed:
            return ": run `ops migrate up` again, which sees how far the file has come, and goes on there."
        if done == 0:
            return (
                ", and nothing of the file was done: mend the cause, or the file, and run `ops migrate up` again, "
                "which begins it anew."
            )
        return (
            ", with what came before in the file done: mend the cause and run `ops migrate up` again, which goes on "
            "there."
        )

    def _whole(self) -> None:
        connection, step, source = self.site.connection, self.step, self.source

        def attempt() -> None:
            with transaction(connection, source):
                self._set_timeouts(local=True)
                self.warnings = ()
                for statement in source.statements:
                    self._run(statement)
                    require_open(connection, source)
                self.site.ledger.record(connection, Position(step.target))
                self._add(Result.APPLIED)

        try:
            self._insist(attempt)
        except DatabaseError as error:
            if not connection.closed:
                self._add(Result.FAILED, said=str(error))
            raise DatabaseError(
                f"{error} Nothing of the file was done, and {self.site.ledger} is what it was."
            ) from error

    def _one(self, entry: int | None, number: int, statement: Statement) -> None:
        connection = self.site.connection

        def attempt() -> None:
            if not (_is_idle(connection) and self._can_be_wrapped(statement)):
                with self._patience_for(statement):
                    clear_the_way(connection, self.source, statement)
                    self._run(statement)
                self.site.history.progress(connection, entry, number)
                return
            with connection.transaction():  # so that it is never done without being known to be
                self._run(statement)
                self.site.history.progress(connection, entry, number)

        # In a transaction of the file's own, an error undoes what came before, too: only all of it could be retried.
        # And what commits in the middle has done a part of itself before it waits for a lock in vain.
        if _is_idle(connection) and not may_commit(self.source, statement):
            self._insist(attempt)
        else:
            attempt()

    def _run(self, statement: Statement) -> None:
        with self.site.watch(self.site.connection, self.source, statement) as done:
            ran = run_statement(self.site.connection, self.source, statement)
            done(ran)
        self.warnings += ran.warnings

    def _mark_dirty(self) -> int | None:
        with self.site.connection.transaction():
            self.site.ledger.record(self.site.connection, Position(self.step.target, dirty=True))
            return self._add(Result.RUNNING)

    def _add(self, result: Result, said: str = "") -> int | None:
        migration = self.step.migration
        return self.site.history.add(
            self.site.connection,
            migration.version,
            self.step.direction,
            name=migration.name,
            sha256=self.source.sha256,
            result=result,
            seconds=time.monotonic() - self._began,
            waited=self.waited,
            said=said,
        )

    def _insist(self, attempt: Callable[[], None]) -> None:
        """Try again, after a pause, while only a lock is missing: whoever waits long makes others wait behind."""
        pause, until = _SHORTEST_PAUSE_SECONDS, time.monotonic() + self.site.patience.locks
        while True:
            began = time.monotonic()
            try:
                attempt()
            except LockNotHadError as error:
                if time.monotonic() >= until:
                    raise
                self.site.say(f"{str(error).splitlines()[0]} Trying again.")
                time.sleep(_CHANCE.uniform(pause / 2, pause))  # so that two who are in each other's way do not stay so
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                self.waited += time.monotonic() - began
            else:
                return

    @contextmanager
    def _patience_for(self, statement: Statement) -> Iterator[None]:
        """Let a statement wait for as long as may be, that waits for older transactions and keeps nobody out."""
        longer = statement.is_concurrent and self.source.lock_timeout is None
        if longer:
            self._set_timeouts(local=False, lock=self.site.patience.locks)
        try:
            yield
        finally:
            if longer and not self.site.connection.closed:
                self._set_timeouts(local=False)

    def _set_timeouts(self, *, local: bool, lock: float | None = None) -> None:
        if lock is None:
            lock = self.source.lock_timeout if self.source.lock_timeout is not None else self.site.patience.table_lock
        statement = self.source.statement_timeout
        statement = self.site.patience.statement if statement is None else statement
        self.site.connection.execute(
            "SELECT set_config('lock_timeout', %(lock)s, %(local)s), "
            "set_config('statement_timeout', %(statement)s, %(local)s)",
            {"lock": f"{round(lock * 1000)}ms", "statement": f"{round(statement * 1000)}ms", "local": local},
        )

    def _can_be_wrapped(self, statement: Statement) -> bool:
        return not (statement.stands_alone or statement.controls_transactions or may_commit(self.source, statement))


def _is_idle(connection: Connection) -> bool:
    return connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
