"""The WAL in the bucket: what its objects are called, and from their names alone what is there and what is missing.

    wal/<timeline>/<segment>.zst                      a finished segment
    wal/<timeline>/<segment>.tail/<from>-<to>.zst     bytes of the unfinished one; goes when the segment comes
    wal/<timeline>.history                            how a timeline began; kept for ever

Names of encrypted objects end in `.zst.age`; a bucket may hold both kinds.

Everything here is a pure function of names, so that a bucket with years of WAL is understood from its listing.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Self

from ops_workflows.errors import IntegrityError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.storage.objects import StoredObject

SUFFIX = ".zst"
DIGEST = "sha256"  # metadata: of the log's bytes, since encryption never gives the same twice
ALL_UNTIL = "all-until"  # metadata: a time at which, by the server's clock, it had nothing beyond this object
UNKNOWN = "unknown"  # in its place, where the receiver had not come to the end of the server's log yet
_XLOG_ID = 1 << 32  # bytes in what the middle eight digits of a segment's name count
_SEGMENT = re.compile(r"(?P<timeline>[0-9A-F]{8})/(?P<name>[0-9A-F]{24})\.zst(\.age)?")
_TAIL = re.compile(
    r"(?P<timeline>[0-9A-F]{8})/(?P<name>[0-9A-F]{24})\.tail/(?P<start>[0-9A-F]{8})-(?P<end>[0-9A-F]{8})\.zst(\.age)?"
)
_HISTORY = re.compile(r"(?P<timeline>[0-9A-F]{8})\.history")
_HISTORY_LINE = re.compile(r"^\s*(\d+)\s+([0-9A-Fa-f]+/[0-9A-Fa-f]+)")


def segment_name(timeline: int, start: int, segment_bytes: int) -> str:
    """PostgreSQL's name of the segment that holds a place of the log, 24 hexadecimal digits."""
    number = start // segment_bytes
    per_id = _XLOG_ID // segment_bytes
    return f"{timeline:08X}{number // per_id:08X}{number % per_id:08X}"


def segment_start(name: str, segment_bytes: int) -> Lsn:
    """Where in the log a segment begins."""
    return Lsn((int(name[8:16], 16) * (_XLOG_ID // segment_bytes) + int(name[16:24], 16)) * segment_bytes)


def segment_key(timeline: int, start: int, segment_bytes: int) -> str:
    """The name of a finished segment's object, below `wal/`, before encryption."""
    return f"{timeline:08X}/{segment_name(timeline, start, segment_bytes)}{SUFFIX}"


def tail_key(timeline: int, start: int, end: int, segment_bytes: int) -> str:
    """The name of an object with bytes of an unfinished segment, both places in it; below `wal/`, before encryption."""
    first = start - start % segment_bytes
    name = segment_name(timeline, start, segment_bytes)
    return f"{timeline:08X}/{name}.tail/{start - first:08X}-{end - first:08X}{SUFFIX}"


def history_key(timeline: int) -> str:
    """The name of a timeline's history file, below `wal/`."""
    return f"{timeline:08X}.history"


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of one timeline's log that are in the bucket: a whole segment, or part of an unfinished one.

    Attributes:
        key: Its object.
        timeline: Which.
        start: Its first byte's place.
        end: The place after its last byte.
        stored_at: When it was stored, by the bucket's clock. The bucket may have been away long before, and a copy is
            stored later: what had been committed by then may be missing.
        whole: Whether it is a finished segment.
        all_until: A time at which, by the server's clock, nothing had been written beyond it: all that was committed
            by then lies before its end. None where it is not known, or was not asked for.
        etag: The object's version tag, as it was listed.
    """

    key: str
    timeline: int
    start: Lsn
    end: Lsn
    stored_at: datetime | None
    whole: bool
    all_until: datetime | None = None
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Range:
    """WAL of one timeline without a gap, `end` not included."""

    timeline: int
    start: Lsn
    end: Lsn


@dataclass(frozen=True, slots=True)
class Branch:
    """How a timeline began: it left `parent` at `at`."""

    parent: int
    at: Lsn


@dataclass(frozen=True)  # without slots: what is asked again and again of a long log is worked out once
class WalListing:
    """What of the log is in the bucket.

    Attributes:
        pieces: By timeline and place.
        histories: Timelines whose history files are there.
        branches: What those say, where they have been read: the ancestors of a timeline, oldest first.
        begun: When each history file was stored, by the bucket's clock.
    """

    pieces: tuple[Piece, ...]
    histories: frozenset[int] = field(default_factory=frozenset)
    branches: Mapping[int, Sequence[Branch]] = field(default_factory=dict, hash=False)
    begun: Mapping[int, datetime] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, objects: Iterable[StoredObject], prefix: str, segment_bytes: int) -> Self:
        """Understand a listing of `prefix`; names that are none of ours are passed over."""
        pieces: list[Piece] = []
        histories: dict[int, datetime | None] = {}
        for found in objects:
            name = found.key[len(prefix) :]
            if whole := _SEGMENT.fullmatch(name):
                start = segment_start(whole["name"], segment_bytes)
                pieces.append(_piece(found, whole["timeline"], start, Lsn(start + segment_bytes), whole=True))
            elif tail := _TAIL.fullmatch(name):
                first = segment_start(tail["name"], segment_bytes)
                start, end = Lsn(first + int(tail["start"], 16)), Lsn(first + int(tail["end"], 16))
                pieces.append(_piece(found, tail["timeline"], start, end, whole=False))
            elif history := _HISTORY.fullmatch(name):
                histories[int(history["timeline"], 16)] = found.modified
        return cls(
            tuple(sorted(pieces, key=lambda piece: (piece.timeline, piece.start, -piece.end))),
            frozenset(histories),
            begun={timeline: at for timeline, at in histories.items() if at is not None},
        )

    def ranges(self) -> list[Range]:
        """The log without gaps, timeline by timeline, each range as long as it can be."""
        return list(self._ranges)

    def gaps(self) -> list[Range]:
        """What is missing on the way to the end of each timeline, from the first of it that is there."""
        ranges = self.ranges()
        missing = {gap for timeline in {part.timeline for part in ranges} for gap in self._missing(timeline, ranges)}
        return _joined(sorted(missing, key=lambda gap: (gap.timeline, gap.start)))

    def _missing(self, timeline: int, ranges: list[Range]) -> Iterator[Range]:
        at: Lsn | None = None  # from here on the way is needed
        for number, leaves in path(timeline, self.branches.get(timeline, ())):
            parts = [part for part in ranges if part.timeline == number and (leaves is None or part.start < leaves)]
            if at is None and not parts:
                continue
            at = parts[0].start if at is None else at
            for part in parts:
                if at < part.start:
                    yield Range(number, at, part.start)
                at = max(at, part.end)
            if leaves is not None:
                if at < leaves:
                    yield Range(number, at, leaves)
                at = leaves

    def end(self, timeline: int, start: int) -> Lsn | None:
        """How far a timeline's log goes without a gap from a place on; None when not even that place is there."""
        for found in self.ranges():
            if found.timeline == timeline and found.start <= start <= found.end:
                return found.end
        return None

    def cover(self, timeline: int, start: Lsn, end: Lsn) -> Iterator[Piece]:
        """Pieces that together hold the log from one place to another, as few as can be.

        Raises:
            IntegrityError: Some of it is missing; the text says from where.
        """
        starts, furthest = self._index.get(timeline, ([], []))
        at = start
        while at < end:
            number = bisect_right(starts, at)
            if not number or furthest[number - 1].end <= at:
                raise IntegrityError(f"The WAL of timeline {timeline} from {at} is not in the bucket.")
            yield furthest[number - 1]
            at = furthest[number - 1].end

    def within(self, part: Range) -> Iterator[Piece]:
        """The pieces that end inside of a range, its own end counted."""
        return (
            piece for piece in self.pieces if piece.timeline == part.timeline and part.start < piece.end <= part.end
        )

    @cached_property
    def _ranges(self) -> list[Range]:
        return _joined(Range(piece.timeline, piece.start, piece.end) for piece in self.pieces)

    @cached_property
    def _index(self) -> dict[int, tuple[list[Lsn], list[Piece]]]:
        """Of each timeline where its pieces begin, and of the pieces up to each the one that goes furthest."""
        found: dict[int, tuple[list[Lsn], list[Piece]]] = {}
        for piece in self.pieces:
            starts, furthest = found.setdefault(piece.timeline, ([], []))
            starts.append(piece.start)
            furthest.append(max(furthest[-1], piece, key=lambda each: each.end) if furthest else piece)
        return found


def _piece(found: StoredObject, timeline: str, start: Lsn, end: Lsn, *, whole: bool) -> Piece:
    return Piece(found.key, int(timeline, 16), start, end, found.modified, whole, etag=found.etag)


def path(timeline: int, branches: Sequence[Branch]) -> list[tuple[int, Lsn | None]]:
    """The timelines that lead to one, oldest first, each with the place where the next leaves it; it leaves nowhere."""
    return [*((branch.parent, branch.at) for branch in branches), (timeline, None)]


def _joined(parts: Iterable[Range]) -> list[Range]:
    """Ranges, in order of timeline and start, with those that touch made into one."""
    found: list[Range] = []
    for part in parts:
        last = found[-1] if found else None
        if last is not None and last.timeline == part.timeline and part.start <= last.end:
            found[-1] = Range(last.timeline, last.start, max(last.end, part.end))
        else:
            found.append(part)
    return found


def known_time(said: str | None) -> datetime | None:
    """The time that an object's `all-until` names; None where it has none, or names none."""
    try:
        found = datetime.fromisoformat(said or "")
    except ValueError:
        return None
    return found if found.tzinfo else None


def finished(tail: Piece, segment_bytes: int) -> tuple[Piece, Piece]:
    """What the segment of a tail is called once it is finished: plain, and encrypted."""
    name, start = tail.key.partition(".tail/")[0], Lsn(tail.start - tail.start % segment_bytes)
    keys = (f"{name}{SUFFIX}", f"{name}{SUFFIX}.age")
    plain, encrypted = (replace(tail, key=key, start=start, end=Lsn(start + segment_bytes), whole=True) for key in keys)
    return plain, encrypted


def superseded(names: Iterable[str]) -> set[str]:
    """Of names that hold `<timeline>/<segment>…`, those of tails whose whole segment is among them."""
    tails: dict[str, set[str]] = {}
    whole: set[str] = set()
    for name in names:
        if tail := _TAIL.search(name):
            tails.setdefault(tail["name"], set()).add(name)
        elif segment := _SEGMENT.search(name):
            whole.add(segment["name"])
    return {name for segment, of in tails.items() if segment in whole for name in of}


def parse_history(content: bytes) -> list[Branch]:
    """The ancestors that a history file names, oldest first.

    https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES
    """
    lines = (_HISTORY_LINE.match(line) for line in content.decode(errors="replace").splitlines())
    return [Branch(int(line[1]), Lsn.parse(line[2])) for line in lines if line]
