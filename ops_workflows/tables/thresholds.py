"""From where on something is worth a warning."""

from dataclasses import dataclass
from datetime import timedelta

from ops_workflows.settings import Settings

_MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on something is worth a warning.

    Attributes:
        most_bloat: Fraction of a table or an index that may be dead or free.
        least_bytes: That have to be, or nobody would notice a rewrite; what a disk reads in about a second.
        dead_factor: How many times what autovacuum waits for may be dead: it comes every minute.
        least_dead_rows: That have to be dead in any case.
        vacuum_lag: How long a table may be without a vacuum although one is due.
        hold: How long a transaction may hold vacuums back.
        hold_transactions: How many may begin meanwhile, where nobody knows how long it is.
        longest_vacuum: How long one may take.
        most_age: Of a table, as a fraction of the age at which a vacuum is forced, which may take its time.
        most_of_sequence: Fraction of its numbers that may be used.
        unused: How long an index has to lie idle.
        least_index_bytes: Of an index whose removal saves anything.
        least_rows: Of a table that plans go wrong for without statistics.
    """

    most_bloat: float = 0.5
    least_bytes: int = 64 * _MIB
    dead_factor: float = 2.0
    least_dead_rows: int = 10_000
    vacuum_lag: timedelta = timedelta(hours=24)
    hold: timedelta = timedelta(hours=1)
    hold_transactions: int = 1_000_000
    longest_vacuum: timedelta = timedelta(hours=6)
    most_age: float = 1.2
    most_of_sequence: float = 0.75
    unused: timedelta = timedelta(days=30)
    least_index_bytes: int = _MIB
    least_rows: int = 1_000

    @classmethod
    def of(cls, settings: Settings) -> "Thresholds":
        """Those that an installation chooses, and the others as they are."""
        return cls(
            most_bloat=settings.tables_most_bloat,
            hold=timedelta(seconds=settings.tables_most_hold_seconds),
            most_of_sequence=settings.tables_most_of_sequence,
            unused=timedelta(days=settings.tables_unused_days),
        )
