"""The second repository: finished backups, dumps and WAL copied there, verified, and kept by a retention of its own.

It needs no database, only the two repositories. Killed at any moment it leaves nothing that looks whole and is not: the
record of a backup or a dump comes last, a child after its parent, the log's oldest first. Run again, it goes on; two at
once do the same work twice and no harm.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from ops_workflows.backup.mirror_copy import Copier, Verified
from ops_workflows.backup.removal import Enforced, let_go
from ops_workflows.errors import ConfigurationError, IntegrityError, RefusedError
from ops_workflows.progress import SILENT, Progress
from ops_workflows.repository.backup import utc_now
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.layout import systems
from ops_workflows.repository.leases import reading
from ops_workflows.repository.mirror import Copy, MirrorPlan, Whole, plan_mirror
from ops_workflows.repository.retention_facts import plan_retention, policy_of, read_readable
from ops_workflows.repository.wal import superseded
from ops_workflows.settings import Settings
from ops_workflows.storage.store import open_store

_BYTES_AT_ONCE = 32 * 1024**2  # of small objects in memory; one that is larger goes alone
_ROUNDS = 3  # while one round copies, tails become segments: the next one fetches those


@dataclass(slots=True)
class Mirrored:
    """What became of one cluster's plan.

    Attributes:
        system: PostgreSQL's system identifier.
        plan: What was meant to be copied at first.
        copied: How many `backups`, `dumps`, `exports`, `wal`, `proofs` and `pins` were.
        copied_bytes: Bytes of the objects that were not there yet.
        verified: How what was copied was shown to be the same.
        enforced: What the mirror's own retention did; None if it was not its turn.
        damaged: Backups and dumps whose record cannot be read, in one of the two, a sentence each. They are not copied,
            and as long as there are any, nothing is let go.
        failures: What could not be copied, a sentence each.
    """

    system: str
    plan: MirrorPlan
    copied: Counter[str] = field(default_factory=Counter)
    copied_bytes: int = 0
    verified: Verified = field(default_factory=Verified)
    enforced: Enforced | None = None
    damaged: tuple[str, ...] = ()
    failures: list[str] = field(default_factory=list)


def mirror(settings: Settings, progress: Progress = SILENT, *, apply: bool = True) -> list[Mirrored]:
    """Bring the second repository up to the first, every cluster of it, and let its old backups go.

    Args:
        settings: The first, and OPS_MIRROR_URL.
        progress: Hears how far it is.
        apply: Otherwise it is only planned; nothing is changed.

    Raises:
        ConfigurationError: There is no second repository, or it is the first.
        IntegrityError: Something is damaged in one of the two, or differs in the second. All else was copied, and
            nothing of that cluster was let go.
        RefusedError: The first holds nothing, or a pin or a proof in one of the two cannot be read.
        StorageError: One of the two did not answer. Run it again: it goes on from there.
    """
    second = settings.mirrored()
    if second is None:
        raise ConfigurationError("OPS_MIRROR_URL is not set: let it name the second repository, file:///… or s3://….")
    open_store(second).check()
    first = open_store(settings)
    known = [name for name in first.folders(systems(settings.repository_prefix)) if name.isdecimal()]
    if not known:
        # A mistyped prefix looks just like this, and a mirror that copies nothing must not be called up to date.
        where = f" under {settings.repository_prefix!r}" if settings.repository_prefix else ""
        raise RefusedError(f"{first} holds no backups{where}: there is nothing to mirror. See OPS_S3_PREFIX.")
    done = [_Mirroring(settings, second, system, progress).run(apply=apply) for system in known]
    failures = [failure for each in done for failure in (*each.damaged, *each.failures)]
    if failures:
        rest = "all else was copied" if apply else "all else would be"
        raise IntegrityError(f"The mirror lacks what could not be copied; {rest}: {' '.join(failures)}")
    return done


class _Mirroring:
    """One cluster."""

    def __init__(self, settings: Settings, second: Settings, system: str, progress: Progress) -> None:
        self._settings = second
        self._progress = progress
        self._source = open_repository(settings, system)
        self._mirror = open_repository(second, system)
        self._copier = Copier(
            self._source.store,
            self._mirror.store,
            self._source.layout.root,
            self._mirror.layout.root,
            threads=settings.s3_threads,
            read_back=second.repository_folder is not None,
        )
        plan, damaged = self._plan()
        self._done = Mirrored(system, plan, verified=self._copier.verified, damaged=damaged)

    def run(self, *, apply: bool) -> Mirrored:
        """Copy until nothing is missing, then let go."""
        if not apply:
            return self._done
        todo = self._done.plan
        for backup_id in todo.broken:
            self._progress.say(f"Backup {backup_id} is not mirrored: what it builds on is in neither repository.")
        for _ in range(_ROUNDS):
            if todo.is_empty or self._done.failures:
                break
            self._copy(todo)
            todo, _ = self._plan()
        if not self._done.failures and not self._done.damaged:
            plan = plan_retention(self._settings, self._mirror)
            self._done.enforced = let_go(self._settings, self._mirror, plan, self._progress)
        return self._done

    def _plan(self) -> tuple[MirrorPlan, tuple[str, ...]]:
        """What to copy, and what is damaged in one of the two."""
        now = utc_now()
        try:
            source, damaged = read_readable(self._source, now)
            mirror, damaged_there = read_readable(self._mirror, now)
            return plan_mirror(source, mirror, policy_of(self._settings), now), (*damaged, *damaged_there)
        except IntegrityError as error:
            raise RefusedError(
                f"Nothing is copied while a record cannot be understood: {error} A newer program may have written it."
            ) from error

    def _copy(self, todo: MirrorPlan) -> None:
        for whole in todo.wholes:
            self._attempt(partial(self._copy_whole, whole))
        self._each("pins", todo.pins, lambda copy: self._copier.small(copy.name))
        self._each("wal", todo.wal, self._copy_wal)
        if not self._done.failures:  # until a segment is safe, its tails are all there is of it
            self._mirror.store.delete(self._mirror.layout.root + name for name in self._safe(todo.superseded))
        self._each("proofs", todo.proofs, lambda copy: self._copier.small(copy.name, once=True))

    def _safe(self, tails: Sequence[str]) -> set[str]:
        """Of these tails, those whose whole segment is in the mirror: one that vanished meanwhile was not copied."""
        root = self._mirror.layout.root
        there = (found.key.removeprefix(root) for found in self._mirror.store.objects(self._mirror.layout.wal))
        return superseded(there) & set(tails) if tails else set()

    def _copy_whole(self, whole: Whole) -> bool:
        layout, progress = self._source.layout, self._progress
        if whole.parent and self._mirror.store.head(self._mirror.layout.root + whole.parent) is None:
            raise IntegrityError(f"{whole.id} has to wait for {whole.parent}.")
        with ExitStack() as stack:
            try:
                stack.enter_context(reading(self._source, [(whole.id, layout.root + whole.record)], progress))
            except RefusedError:
                return False  # the first repository has just let go of it
            progress.begin(f"mirror {whole.id}", whole.size)
            done = 0

            def advance(count: int) -> None:
                nonlocal done
                done += count
                progress.advance(done)

            for stored in whole.objects:
                if self._copier.archive(whole.folder + stored.name, stored, advance):
                    self._done.copied_bytes += stored.size
            if whole.pin:
                self._copier.small(whole.pin)
            self._copier.record(whole.record)
        self._done.copied[whole.folder.partition("/")[0]] += 1
        return True

    def _copy_wal(self, copy: Copy) -> bool:
        never_changes = ".tail/" not in copy.name
        return self._copier.small(copy.name, once=never_changes, lock=never_changes)

    def _each(self, what: str, copies: Sequence[Copy], work: Callable[[Copy], bool]) -> None:
        self._progress.begin(f"mirror {what}", sum(copy.size for copy in copies) or None)
        done = 0

        with ThreadPoolExecutor(self._copier.threads, thread_name_prefix="mirror") as pool:
            for batch in _batches(copies, self._copier.threads):
                there = pool.map(lambda copy: self._attempt(partial(work, copy)), batch)
                for copy, was_there in zip(batch, there, strict=True):
                    if was_there:
                        self._done.copied[what] += 1
                        self._done.copied_bytes += copy.size
                    done += copy.size
                self._progress.advance(done)

    def _attempt(self, work: Callable[[], bool]) -> bool:
        """What is damaged is said at the end and holds up nothing else; a place that does not answer ends it all."""
        try:
            return work()
        except IntegrityError as error:
            self._done.failures.append(str(error))
            return False


def _batches(copies: Sequence[Copy], most: int) -> Iterator[list[Copy]]:
    """In order, each small enough to be in memory at once."""
    batch: list[Copy] = []
    for copy in copies:
        if batch and (len(batch) == most or sum(each.size for each in batch) + copy.size > _BYTES_AT_ONCE):
            yield batch
            batch = []
        batch.append(copy)
    if batch:
        yield batch
