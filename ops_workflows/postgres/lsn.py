"""Places in the write-ahead log."""

import re
from typing import Self

from ops_workflows.errors import DatabaseError

_NOTATION = re.compile(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}")


class Lsn(int):
    """A byte position in the write-ahead log; prints as PostgreSQL does, `16/B374D848`.

    https://www.postgresql.org/docs/current/datatype-pg-lsn.html
    """

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read PostgreSQL's notation.

        Raises:
            DatabaseError: It is none.
        """
        if not _NOTATION.fullmatch(text):
            raise DatabaseError(f"{text!r} is no LSN: write two hexadecimal numbers with a slash, such as 16/B374D848.")
        high, _slash, low = text.partition("/")
        return cls((int(high, 16) << 32) + int(low, 16))

    def __str__(self) -> str:
        return f"{self >> 32:X}/{self & 0xFFFFFFFF:X}"

    def __repr__(self) -> str:
        return f"Lsn({self})"
