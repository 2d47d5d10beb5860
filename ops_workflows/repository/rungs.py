"""The rungs of proof: what can be shown of a backup, lowest first."""

from enum import StrEnum


class Rung(StrEnum):
    """What has been shown of a backup; each says more than the one before."""

    STORED = "stored"
    CHECKSUMMED = "checksummed"
    CONTIGUOUS = "contiguous"
    RESTORED = "restored"
    BOOTED = "booted"
    SOUND = "sound"
    EXACT = "exact"

    @property
    def meaning(self) -> str:
        """What has been shown, in words."""
        return _MEANINGS[self]

    def below(self) -> tuple["Rung", ...]:
        """The rungs that are climbed before this one, lowest first."""
        rungs = tuple(Rung)
        return rungs[: rungs.index(self)]


_MEANINGS = {
    Rung.STORED: "Every object is in the bucket as it was sent.",
    Rung.CHECKSUMMED: "Every object has the SHA-256 that was sent, every file in it the one of PostgreSQL's manifest.",
    Rung.CONTIGUOUS: "The write-ahead log in the bucket leads from the backup to now, on one path without a gap.",
    Rung.RESTORED: "It extracts, its increments combine, and pg_verifybackup finds each of its files as it was.",
    Rung.BOOTED: "PostgreSQL starts from it and is consistent; every table has its rows, the schema is the source's.",
    Rung.SOUND: "pg_amcheck and a full read of every table and index find nothing.",
    Rung.EXACT: "Recovered to a moment between two canaries: the one before is there, the one after is not.",
}

OF_ITSELF = (Rung.STORED, Rung.CHECKSUMMED, Rung.RESTORED, Rung.BOOTED, Rung.SOUND)
"""What is shown of a backup alone, whatever log lies behind it."""
