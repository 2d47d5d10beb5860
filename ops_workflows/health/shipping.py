"""The log on its way into the bucket: how far that is behind, against what was promised."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib.resources import files

from psycopg.rows import class_row

from ops_workflows.health.probe import Budget, Probe, Seen
from ops_workflows.health.reading import Check, Reading, Severity, Threshold, critical, measured, unknown
from ops_workflows.health.session import hurried
from ops_workflows.postgres.connection import describe
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.wal import ALL_UNTIL, WalListing, known_time, segment_name
from ops_workflows.settings import Settings

_LOOKS = 8
_SHIPPING = files(__package__).joinpath("shipping.sql").read_text().encode()


@dataclass(frozen=True, slots=True)
class Shipping:
    """A row of shipping.sql; what the slot says is None where there is none, or it has kept nothing yet."""

    system: str
    now: datetime
    timeline: int
    segment_bytes: int
    server_end: str
    there: bool
    active: bool
    kept: str | None
    shipped: str | None

    @property
    def behind(self) -> int | None:
        """Bytes that the bucket has not acknowledged."""
        return None if self.shipped is None else max(0, Lsn.parse(self.server_end) - Lsn.parse(self.shipped))


def shipping(settings: Settings, threshold: Threshold) -> Probe:
    """The probe, with settings whose timeouts are short."""
    where = f"{describe(settings.require('backup_dsn'))} {settings.s3_endpoint_url}"
    return Probe("shipping", where, [Check.WAL_SHIPPING], partial(_look, settings, threshold))


def _look(settings: Settings, threshold: Threshold, budget: Budget) -> Iterator[Seen]:
    with (
        hurried(settings.require("backup_dsn"), budget) as connection,
        connection.cursor(row_factory=class_row(Shipping)) as cursor,
    ):
        seen = cursor.execute(_SHIPPING, {"slot": settings.wal_slot}).fetchone()
    if seen is None:
        yield unknown(Check.WAL_SHIPPING, "PostgreSQL says nothing of its log.")
        return
    budget.step()
    until = _whole_until(open_repository(settings, seen.system), seen) if seen.shipped and seen.behind else None
    yield judge(seen, until, settings.wal_slot, threshold)


def _whole_until(repository: Repository, seen: Shipping) -> datetime | None:
    """Until when the bucket has all, in the words of its newest objects: a short listing, however long the log is."""
    last = Lsn(max(0, Lsn.parse(seen.shipped or "0/0") - 1))
    prefix = repository.layout.wal
    name = f"{seen.timeline:08X}/{segment_name(seen.timeline, last, seen.segment_bytes)}"
    listing = WalListing.of(repository.store.objects(prefix + name), prefix, seen.segment_bytes)
    # Those that were stored before the receiver had come to the end of the log do not know.
    for piece in heapq.nlargest(_LOOKS, listing.pieces, key=lambda each: each.end):
        found = repository.store.head(piece.key)
        if found is not None and (until := known_time(found.metadata.get(ALL_UNTIL))) is not None:
            return until
    return None


def judge(seen: Shipping, until: datetime | None, slot: str, threshold: Threshold) -> Reading:
    """What it comes to.

    Args:
        seen: What the server says.
        until: Until when, by the server's clock, the bucket has all that was committed; None where that is not known.
        slot: Of the receiver.
        threshold: Seconds that it may be behind.
    """
    check = Check.WAL_SHIPPING
    if not seen.there:
        return critical(check, f"There is no slot {slot}: nobody ships the log.", "start `ops wal stream`")
    if seen.kept == "lost":
        do = "restart `ops wal stream`, and take a new base backup"
        return critical(check, f"Slot {slot} is lost, and the log has a gap.", do)
    if seen.behind is None:
        return unknown(check, f"Slot {slot} has kept nothing yet: nothing was shipped.")
    do = "start `ops wal stream`" if not seen.active else "see what the receiver says, and whether the bucket is slow"
    if not seen.behind:
        seconds, said = 0.0, "The bucket has all of the log"
    elif until is None:
        return unknown(check, f"The bucket is {seen.behind:,} bytes behind; nobody knows since when. To do: {do}.")
    else:
        seconds = max(0.0, (seen.now - until).total_seconds())
        said = f"The bucket is {seen.behind:,} bytes and {seconds:,.1f} s behind"
    if seen.active:
        return measured(check, round(seconds, 1), "s", threshold, said=f"{said}.", do=do)
    severity = max(Severity.WARNING, threshold.judge(seconds), key=lambda each: each.rank)
    text = f"{said}, and nobody receives it. To do: {do}."
    return Reading(check, severity, text, round(seconds, 1), "s", threshold)
