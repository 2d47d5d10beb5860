"""The moment to recover to, as a person writes it: `latest`, a time with its zone, an LSN, or a named restore point."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from ops_workflows.errors import RefusedError
from ops_workflows.postgres.lsn import Lsn

_LSN = re.compile(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}")
_NAME = "name:"


@dataclass(frozen=True, slots=True)
class Latest:
    """The end of the WAL in the bucket."""

    def __str__(self) -> str:
        return "latest"


@dataclass(frozen=True, slots=True)
class AtTime:
    """After the last transaction that committed at this time or before."""

    time: datetime

    def __str__(self) -> str:
        return f"{self.time.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC"


@dataclass(frozen=True, slots=True)
class AtLsn:
    """After the record at this place of the log."""

    lsn: Lsn

    def __str__(self) -> str:
        return str(self.lsn)


@dataclass(frozen=True, slots=True)
class AtName:
    """At the restore point of this name (`pg_create_restore_point`)."""

    name: str

    def __str__(self) -> str:
        return f"restore point {self.name}"


@dataclass(frozen=True, slots=True)
class BackupEnd:
    """The backup's own end: no WAL besides what its archive holds."""

    def __str__(self) -> str:
        return "the backup's own end"


Moment = Latest | AtTime | AtLsn | AtName | BackupEnd


def parse_moment(text: str) -> Moment:
    """Read what a person wrote.

    Raises:
        RefusedError: It is none of the four, or a time without a zone, which could mean another hour than was meant.
    """
    if text == "latest":
        return Latest()
    if text.startswith(_NAME) and text != _NAME:
        return AtName(text[len(_NAME) :])
    if _LSN.fullmatch(text):
        return AtLsn(Lsn.parse(text))
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise RefusedError(
            f"{text!r} is no moment: write latest, a time such as 2026-01-31T02:00:00Z, an LSN such as 16/B374D848, or "
            "name:RESTORE_POINT."
        ) from None
    if time.tzinfo is None:
        raise RefusedError(f"{text!r} has no time zone, so it could mean another hour: write {text}Z or {text}+05:30.")
    return AtTime(time)
