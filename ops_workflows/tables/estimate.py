"""What a table or a btree index of so many rows needs, from the average width of its columns.

The idea is ioguix's (https://github.com/ioguix/pgsql-bloat-estimation); the arithmetic is ours, and pads columns as the
server does. Of what was just built anew it is within a tenth, except for a btree whose entries repeat: the server puts
equal ones together, so that such an index is smaller than this says.
"""

import math
from collections.abc import Sequence

from ops_workflows.tables.readings import Column

_ALIGNMENT = 8
_LINE_POINTER = 4
_PAGE_HEADER = 24
_ROW_HEADER = 23
_INDEX_ENTRY_HEADER = 8
_BTREE_PAGE_END = 16
_SHORT = 127  # bytes below which a value of variable length has a header of one byte, and is not aligned


def heap_bytes(rows: float, columns: Sequence[Column], fillfactor: int, block: int) -> float | None:
    """What a table of so many rows needs.

    Args:
        rows: How many are alive.
        columns: In order.
        fillfactor: Percent of a block that is filled.
        block: Its size.

    Returns:
        Bytes; None if the width of a column is not known.
    """
    bitmap = math.ceil(len(columns) / 8) if any(each.nulls for each in columns) else 0
    header = math.ceil((_ROW_HEADER + bitmap) / _ALIGNMENT) * _ALIGNMENT
    data = _data_bytes(columns)
    if data is None:
        return None
    return _pages(rows, header + data + _LINE_POINTER, (block - _PAGE_HEADER) * fillfactor / 100) * block


def btree_bytes(rows: float, columns: Sequence[Column], fillfactor: int, block: int) -> float | None:
    """What a btree of so many entries needs when it is built anew, equal ones not put together.

    Args:
        rows: How many entries there are.
        columns: In order, those that are stored only among them.
        fillfactor: Percent of a block that is filled.
        block: Its size.

    Returns:
        Bytes; None if the width of a column is not known.
    """
    data = _data_bytes(columns)
    if data is None:
        return None
    bitmap = _ALIGNMENT * max((each.nulls or 0.0 for each in columns), default=0.0)
    entry = _INDEX_ENTRY_HEADER + bitmap + data + _LINE_POINTER
    room = (block - _PAGE_HEADER - _BTREE_PAGE_END) * fillfactor / 100
    # Above each page lies an entry that leads to it, and the first page says where the tree begins.
    return (_pages(rows, entry, room) * (1 + entry / room) + 1) * block


def _pages(rows: float, each: float, room: float) -> int:
    return math.ceil(rows / max(math.floor(room / each), 1))


def _data_bytes(columns: Sequence[Column]) -> float | None:
    """The values of an average row, with what lies between them and behind the last."""
    place, is_exact = 0.0, True
    for each in columns:
        if each.width is None or each.nulls is None:
            return None
        filled = 1 - each.nulls
        if each.length > 0 or (each.length == -1 and each.width >= _SHORT):
            gap = -place % each.alignment if is_exact else (each.alignment - 1) / 2
            place += gap * filled
        place += each.width * filled
        is_exact = is_exact and each.length > 0 and not each.nulls
    return place + (-place % _ALIGNMENT if is_exact else (_ALIGNMENT - 1) / 2)
