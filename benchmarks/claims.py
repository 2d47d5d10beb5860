"""What is claimed: who is compared, in which way, and within which bound. Only data, and the rule that judges it."""

from dataclasses import dataclass
from typing import Literal

from benchmarks.contender import Contender
from benchmarks.ours import Ours
from benchmarks.peers import Barman, PgBackRest, PgBaseBackup

Work = Literal["backup", "restore"]

OURS = Ours("ours, zstd 3", "zstd", tls=False)
OURS_AS_IT_COMES = Ours("ours, zstd 3, and rows counted", "zstd", tls=False, count_rows=True)
OURS_TLS = Ours("ours, zstd 3, TLS", "zstd", tls=True)
OURS_LZ4 = Ours("ours, lz4, TLS", "lz4", tls=True)
BASEBACKUP = PgBaseBackup("pg_basebackup, zstd 3, local file")
BARMAN = Barman("barman-cloud-backup, zstd, 2 jobs")
PGBACKREST = PgBackRest("pgBackRest, zst 3, 2 processes, TLS", "zst", 3, bundle=False)
PGBACKREST_BUNDLED = PgBackRest("pgBackRest, same, files bundled", "zst", 3, bundle=True)
PGBACKREST_LZ4 = PgBackRest("pgBackRest, lz4, 2 processes, TLS", "lz4", 1, bundle=False)
PGBACKREST_LZ4_BUNDLED = PgBackRest("pgBackRest, same, files bundled (lz4)", "lz4", 1, bundle=True)

CONTENDERS: tuple[Contender, ...] = (
    OURS, BASEBACKUP, BARMAN, OURS_AS_IT_COMES, OURS_TLS, PGBACKREST, PGBACKREST_BUNDLED, OURS_LZ4, PGBACKREST_LZ4,
    PGBACKREST_LZ4_BUNDLED,
)  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """Ours takes at most `bound` times what the peer takes for the same work.

    Attributes:
        work: Which.
        ours: Which of ours.
        peer: The one that it is held against.
        bound: The largest ratio that is claimed.
        strict: Whether the bound itself is already too much.
    """

    work: Work
    ours: Ours
    peer: Contender
    bound: float
    strict: bool = False

    def holds(self, ratio: float) -> bool:
        """Whether a measured ratio keeps the claim."""
        return ratio < self.bound if self.strict else ratio <= self.bound


CLAIMS = (
    Claim("backup", OURS, BASEBACKUP, 1.25),
    Claim("backup", OURS, BARMAN, 0.4),
    Claim("backup", OURS_TLS, PGBACKREST, 1 / 3),
    Claim("backup", OURS_TLS, PGBACKREST_BUNDLED, 1 / 3),
    Claim("backup", OURS_LZ4, PGBACKREST_LZ4, 1, strict=True),
    Claim("backup", OURS_LZ4, PGBACKREST_LZ4_BUNDLED, 1, strict=True),
    Claim("restore", OURS_TLS, PGBACKREST, 1),
    Claim("restore", OURS_TLS, PGBACKREST_BUNDLED, 1),
    Claim("restore", OURS_LZ4, PGBACKREST_LZ4, 1),
    Claim("restore", OURS_LZ4, PGBACKREST_LZ4_BUNDLED, 1),
)

MOST_BACKUP_BYTES = 150_000_000
SAME_MEMORY = 0.10  # of the smaller database's, up or down
MOST_IMPORT_SECONDS = 0.5

LEAST_CATCH_UP = 0.8  # of pg_receivewal's speed to a local disk
MOST_IDLE_PERCENT = 5.0  # of a core
MOST_BEHIND_SECONDS = 1.0  # a commit's way into the bucket, beside the flush interval
MOST_ROUND_TRIPS = 3.0  # PUTs that a commit takes which waits for the bucket
MOST_RECOVERY = 1.0  # of pgBackRest's time
MOST_INCREMENTAL_BYTES = 0.05  # of the full backup's
MOST_INCREMENTAL_SECONDS = 0.15

MOST_CHECKSUM = 1.0  # of the time of pgBackRest's own verification
MOST_PROOF_BYTES = 150_000_000  # of memory, for that
MOST_STORED_SECONDS = 5.0
MOST_DRILL_SECONDS = 60.0

MOST_MIGRATE = 1.5  # times what psql takes for the same files
MOST_LOOK_SECONDS = 0.3  # beyond the start of the program
MOST_REHEARSAL_SECONDS = 5.0  # beside what it restores and the files' own SQL

LEAST_ROLLED_UP = 0.8  # of the rows a second of a bare GROUP BY
MOST_FELT = 1.2  # times the p99 of traffic that has the server to itself
LEAST_GENTLER = 5.0  # times lower than beside one DELETE of everything
LEAST_PRUNED_PER_SECOND = 150_000  # rows, with nobody there
MOST_KEY_WAIT_MS = 10.0  # of any command, while keys are swept
