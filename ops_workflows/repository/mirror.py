"""What a second repository lacks of the first: a pure function from what the two hold to a plan of what to copy.

The mirror keeps its own retention. It is applied to both together, as if all had been copied; what it would let go at
once is never copied. Nothing goes from the mirror because it is gone from the first: only its own retention deletes.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote

from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.backup import Backup, StoredArchive
from ops_workflows.repository.backup_facts import BackupFacts, ancestors
from ops_workflows.repository.canaries import Canary, canaries_since
from ops_workflows.repository.dump import Dump
from ops_workflows.repository.dumps import RECORD as DUMP_RECORD
from ops_workflows.repository.exports import RECORD as EXPORT_RECORD
from ops_workflows.repository.exports import Export
from ops_workflows.repository.holdings import WAL, Holdings
from ops_workflows.repository.layout import RECORD
from ops_workflows.repository.periods import Policy
from ops_workflows.repository.pins import PIN
from ops_workflows.repository.wal import superseded

_MiB = 1024**2


class Copy(NamedTuple):
    """One small object to copy, by its name below the cluster's root; bytes."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Whole:
    """A backup, a dump or an export to copy: its objects, then its pin, and at last the record that makes it exist.

    Attributes:
        id: Its id.
        folder: What the names of its objects begin with.
        record: The name of its record.
        objects: All that the record lists, there or not: each is looked at before the record is written.
        pin: The name of its pin; None if it has none.
        parent: The name of the record of the backup that it builds on; None if it stands alone.
    """

    id: str
    folder: str
    record: str
    objects: tuple[StoredArchive, ...]
    pin: str | None = None
    parent: str | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(stored.size for stored in self.objects)


@dataclass(frozen=True, slots=True)
class MirrorPlan:
    """What to copy, in this order. It can be broken off anywhere: what is there by then is right as it is.

    Attributes:
        wholes: Backups, each after its parent, then dumps and exports; the oldest first.
        pins: Of backups that are there already.
        wal: Histories, then segments and tails, the oldest of each timeline first.
        superseded: Names of tails in the mirror whose segments it then has whole.
        proofs: Of what is kept; the evidence of drills and rehearsals, and the canaries by which later drills will know
            their moments.
        broken: Ids of backups that are not copied, because what they build on is in neither repository.
    """

    wholes: tuple[Whole, ...]
    pins: tuple[Copy, ...]
    wal: tuple[Copy, ...]
    superseded: tuple[str, ...]
    proofs: tuple[Copy, ...]
    broken: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.wholes or self.pins or self.wal or self.superseded or self.proofs)

    @property
    def size(self) -> int:
        """Bytes to copy at most."""
        small = sum(copy.size for copy in (*self.pins, *self.wal, *self.proofs))
        return small + sum(whole.size for whole in self.wholes)


def plan_mirror(source: Holdings, mirror: Holdings, policy: Policy, now: datetime) -> MirrorPlan:
    """Decide what to copy.

    Args:
        source: What the first repository holds.
        mirror: What the second one holds.
        policy: How much the second one is to keep.
        now: The present moment.

    Raises:
        IntegrityError: Their backups disagree on the size of a segment.
    """
    kept = together(source, mirror).plan(policy, now)
    known = {backup.id: backup for backup in kept.kept}
    broken = {each.id for each in kept.kept if [each, *ancestors(each, known)][-1].parent is not None}
    ids = (known.keys() - broken) | {each.dump.id for each in kept.dumps if each.keep}
    backups = [_backup(backup, source) for backup in _parents_first(source.backups) if backup.id in ids]
    dumps = [_dump(dump) for dump in source.dumps if dump.id in ids]
    exports = [_export(export) for export in source.exports]  # nobody else has what they hold: all of them
    wholes = tuple(each for each in (*backups, *dumps, *exports) if not _is_there(each, mirror.objects))
    copied = {each.id for each in wholes}
    pins = [
        each.pin
        for each in backups
        if each.pin and each.id not in copied and source.pins.get(each.id) != mirror.pins.get(each.id)
    ]
    unneeded = {piece.key for piece in kept.wal}
    wal = [name for name in _missing(source, mirror, WAL) if name not in unneeded]
    ends = {part.timeline: part.end for part in source.listing("").ranges()}
    late = superseded([*mirror.objects, *wal])
    return MirrorPlan(
        wholes=wholes,
        pins=tuple(Copy(name, source.objects[name]) for name in pins if name in source.objects),
        wal=tuple(Copy(name, source.objects[name]) for name in sorted(wal, key=_log_order) if name not in late),
        superseded=tuple(sorted(late & mirror.objects.keys())),
        proofs=tuple(
            Copy(name, source.objects[name])
            for prefix in ("proofs/", "drills/", "rehearsals/", "canaries/")
            for name in _missing(source, mirror, prefix)
            if _is_wanted(name, ids, kept.kept, ends)
        ),
        broken=tuple(sorted(broken - {backup.id for backup in mirror.backups})),
    )


def together(source: Holdings, mirror: Holdings) -> Holdings:
    """What the mirror would hold if everything were copied."""
    backups = {backup.id: backup for backup in (*mirror.backups, *source.backups)}
    dumps = {dump.id: dump for dump in (*mirror.dumps, *source.dumps)}
    ids = backups.keys() | dumps.keys()
    return replace(
        mirror,
        objects={**mirror.objects, **source.objects},
        backups=tuple(backups.values()),
        dumps=tuple(dumps.values()),
        proofs={each: {**mirror.proofs.get(each, {}), **source.proofs.get(each, {})} for each in ids},
        pins={**mirror.pins, **source.pins},
        branches={**mirror.branches, **source.branches},
    )


def part_bytes(size: int, parts: int, smallest: int) -> int:
    """How large the parts of an object probably were, so that its copy has the same checksum in the bucket.

    Args:
        size: Of the object.
        parts: How many it was sent in.
        smallest: The size below which no part but the last is.

    Returns:
        The least number of whole MiB that makes so many.
    """
    return max(smallest, -(-size // (parts * _MiB)) * _MiB)


def _parents_first(backups: tuple[Backup, ...]) -> Iterator[Backup]:
    known = {backup.id: backup for backup in backups}
    done: set[str] = set()
    for backup in backups:
        chain = [backup]
        while (parent := chain[-1].parent) in known and parent not in done and len(chain) <= len(known):
            chain.append(known[str(parent)])
        for link in reversed(chain):
            if link.id not in done:
                done.add(link.id)
                yield link


def _backup(backup: Backup, source: Holdings) -> Whole:
    folder = f"backups/{backup.id}/"
    pin = folder + PIN if backup.id in source.pins else None
    parent = f"backups/{backup.parent}/{RECORD}" if backup.parent else None
    return Whole(backup.id, folder, folder + RECORD, backup.objects, pin, parent)


def _dump(dump: Dump) -> Whole:
    folder = f"dumps/{dump.id}/"
    return Whole(dump.id, folder, folder + DUMP_RECORD, dump.objects)


def _export(export: Export) -> Whole:
    folder = f"exports/{quote(export.database, safe='')}/{export.id}/"
    return Whole(export.id, folder, folder + EXPORT_RECORD, export.objects)


def _is_there(each: Whole, objects: Mapping[str, int]) -> bool:
    sizes = (objects.get(each.folder + stored.name) == stored.size for stored in each.objects)
    return each.record in objects and all(sizes)


def _is_wanted(name: str, ids: Collection[str], kept: Sequence[BackupFacts], ends: Mapping[int, Lsn]) -> bool:
    kind, _, rest = name.partition("/")
    if kind == "canaries":
        canary = Canary.parse(rest)
        if canary is None or not kept or canary.after < canaries_since(kept[0].finished_at):
            return False
        return canary.lsn <= ends.get(canary.timeline, 0)  # the log behind it comes with the next mirroring, and so it
    return kind in {"drills", "rehearsals"} or rest.partition("/")[0] in ids


def _missing(source: Holdings, mirror: Holdings, prefix: str) -> Iterator[str]:
    for name, size in source.objects.items():
        if name.startswith(prefix) and mirror.objects.get(name) != size:
            yield name


def _log_order(name: str) -> tuple[bool, str]:
    # Histories first; names of segments and tails then sort by timeline and place.
    return not name.endswith(".history"), name
