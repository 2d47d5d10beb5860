"""The log that leads away from backups: each object of it read once, and held against its name and its digest."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import cached_property
from itertools import batched

from ops_workflows.errors import OpsError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.progress import SILENT, Progress
from ops_workflows.repository.backup import Backup, utc_now
from ops_workflows.repository.branches import living
from ops_workflows.repository.canaries import Canary, canaries
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.log_ledger import Seen, known_good, note_read, seen
from ops_workflows.repository.reach import Histories, furthest, read_listing
from ops_workflows.repository.wal import Piece, WalListing
from ops_workflows.repository.way import Segment, read_piece, segments
from ops_workflows.settings import Settings

_READERS = 2  # each holds a segment, compressed and not
_AT_ONCE = 256  # objects after which the ledger is told: whoever is killed goes on there


class Log:
    """What a repository has of the log, for as long as somebody looks at its backups. Listed when it is first needed.

    Args:
        settings: How long what was read counts, and how old the newest canary in it may be.
        repository: Which.
        again: Read again what was read before, once.
        progress: Hears how far it is.
    """

    def __init__(
        self, settings: Settings, repository: Repository, *, again: bool = False, progress: Progress = SILENT
    ) -> None:
        self._settings = settings
        self._repository = repository
        self._again = again
        self._progress = progress
        self._listings: dict[int, tuple[WalListing, Histories]] = {}

    def listing(self, backup: Backup) -> tuple[WalListing, Histories]:
        """The objects of the log, and what the history files say.

        Raises:
            StorageError: The bucket did not answer.
        """
        if backup.wal_segment_bytes not in self._listings:
            _ = self.canaries, self.seen_until  # first, so that whatever they tell of was there to be listed
            self._listings[backup.wal_segment_bytes] = read_listing(self._repository, backup.wal_segment_bytes)
        return self._listings[backup.wal_segment_bytes]

    @cached_property
    def seen_until(self) -> tuple[int, Lsn] | None:
        """How far it had come when it was read at last: the timeline, and the place; None where it never was."""
        return self._seen[-1].end if self._seen else None

    @cached_property
    def canaries(self) -> list[Canary]:
        """Those that should be in it by now: committed longer ago than the recovery point objective."""
        before = utc_now() - timedelta(seconds=self._settings.rpo_objective_seconds)
        return [canary for canary in canaries(self._repository) if canary.after < before]

    def read(self, backup: Backup) -> int:
        """Read what leads away from a backup and was not read before.

        Returns:
            How many objects lead away, read now or before.

        Raises:
            ConfigurationError: Some of it is encrypted, and no key of ours opens it.
            IntegrityError: An object is not what it must be; the text names it.
            StorageError: The bucket did not answer.
        """
        listing, histories = self.listing(backup)
        way = [
            (piece, segment)
            for segment in segments(furthest(backup, listing, histories))
            for piece in segment.pieces(listing)
        ]
        unread = [each for each in way if self._good.get(each[0].key) != each[0].etag]
        if not unread:
            return len(way)
        at = utc_now()
        self._progress.begin("read the log", sum(piece.end - piece.start for piece, _ in unread))
        for good in self._whole(unread):
            self._good |= {piece.key: piece.etag for piece in good}
            note_read(self._repository, good, at, self._end(listing))
            at = utc_now()
        return len(way)

    def _end(self, listing: WalListing) -> tuple[int, Lsn]:
        """How far the log has come: never less far along a timeline than it had come before."""
        part, before = living(listing), self.seen_until
        end = (part.timeline, part.end) if part else (0, Lsn(0))
        return max(end, before) if before is not None and before[0] == end[0] else end

    def _whole(self, unread: list[tuple[Piece, Segment]]) -> Iterator[list[Piece]]:
        """Read them, and give those that are whole by the hundred, up to the first that is not."""
        done = 0
        with ThreadPoolExecutor(_READERS, thread_name_prefix="log") as pool:
            for batch in batched(unread, _AT_ONCE):
                good: list[Piece] = []
                try:
                    for (piece, _), size in zip(batch, pool.map(self._size, batch), strict=True):
                        good.append(piece)
                        done += size
                        self._progress.advance(done)
                except OpsError:
                    yield good
                    raise
                yield good

    def _size(self, each: tuple[Piece, Segment]) -> int:
        return len(read_piece(self._repository, *each))  # and no more: what is read ahead must not pile up

    @cached_property
    def _seen(self) -> list[Seen]:
        return seen(self._repository)

    @cached_property
    def _good(self) -> dict[str, str]:
        since = utc_now() - timedelta(days=self._settings.proof_days)
        return {} if self._again else dict(known_good(self._repository, self._seen, since))
