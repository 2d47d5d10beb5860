"""Pages of the write-ahead log: whether bytes are the ones that belong to a place of it.

PostgreSQL takes the first page that does not fit for the end of the log, and so it opens without what comes after. What
is handed to a recovering server is therefore looked at before.
https://doxygen.postgresql.org/structXLogPageHeaderData.html
"""

import struct

_BYTES = 8192  # XLOG_BLCKSZ of every usual build
_HEADER = struct.Struct("=HHIQ")  # magic, info, timeline, address
_SYSTEM = struct.Struct("=Q")  # in a segment's first page, behind the header, its remaining length, and padding
_SYSTEM_AT = 24
_LONG = 0x0002
_SMALLEST_SEGMENT = 1024 * 1024


def misfit(
    content: bytes,
    start: int,
    timeline: int,
    system: str,
    *,
    inherited_until: int,
    segment_bytes: int = _SMALLEST_SEGMENT,
) -> str | None:
    """What is wrong with the first page that does not belong where it is said to; None if all do.

    Args:
        content: Of the log, as it was stored.
        start: The place that it is said to be from.
        timeline: The timeline that it is said to be of.
        system: The cluster's system identifier.
        inherited_until: Pages that begin up to here may be of an earlier timeline, from which this one was copied.
        segment_bytes: The cluster's wal_segment_size. By default the smallest: all begin at multiples of that.
    """
    for offset in range(-start % _BYTES, len(content) - _HEADER.size, _BYTES):
        place = start + offset
        magic, info, of_timeline, address = _HEADER.unpack_from(content, offset)
        if magic == 0 and (offset or place % segment_bytes) and not any(content[offset:]):
            return None  # zeros up to the segment's end: the server switched to the next one; never its first page
        if address != place:
            return "it holds the log of another place"
        if of_timeline != timeline and not (of_timeline < timeline and place <= inherited_until):
            return f"it holds the log of timeline {of_timeline}"
        if info & _LONG and len(content) >= offset + _SYSTEM_AT + _SYSTEM.size:
            (of_system,) = _SYSTEM.unpack_from(content, offset + _SYSTEM_AT)
            if str(of_system) != system:
                return f"it holds the log of cluster {of_system}"
    return None
