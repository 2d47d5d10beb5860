"""From an index to its table: whether each entry of an index leads to a row.

pg_amcheck looks for each row in the indexes, and not the other way round: a table that has lost pages satisfies it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from ops_workflows.postgres.connection import Connection

_PAGES_AT_ONCE = 128
_ONLY_BY_INDEX = ("enable_seqscan", "enable_bitmapscan", "enable_tidscan")


@dataclass(frozen=True, slots=True)
class Crossing:
    """What one index says of its table.

    Attributes:
        index: Its name.
        rows: How many rows its entries lead to. An entry counts without a look at its page where the visibility map
            says that everybody sees all of that.
        looked: How many entries were followed to their page, because the map does not say so.
    """

    index: str
    rows: int
    looked: int


def cross(connection: Connection, table: str) -> Crossing | None:
    """Count a table's rows by one of its indexes.

    Args:
        connection: As a superuser, to a server on which nobody writes.
        table: One of `inventory.tables`.

    Returns:
        None where it has no index that leads to all of its rows.

    Raises:
        psycopg.Error: A page that an entry leads to cannot be read.
    """
    with connection.transaction():
        for name in _ONLY_BY_INDEX:
            connection.execute(sql.SQL("SET LOCAL {} = off").format(sql.Identifier(name)))
        connection.execute("SET LOCAL enable_indexonlyscan = on")
        connection.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        counting = sql.SQL("EXPLAIN (ANALYZE, TIMING off, FORMAT json) SELECT count(*) FROM ONLY {}")
        ((plans,),) = connection.execute(counting.format(sql.SQL(table)))
    (scan,) = plans[0]["Plan"]["Plans"]
    if scan["Node Type"] != "Index Only Scan":
        return None
    return Crossing(str(scan["Index Name"]), int(scan["Actual Rows"]), int(scan["Heap Fetches"]))


def has_empty_pages(connection: Connection, table: str, data_dir: Path) -> bool:
    """Whether a table's files hold pages of zeros: new ones that nobody has written yet, or such as have been lost.

    Args:
        connection: As a superuser; its server has written what it knows to its files.
        table: Which.
        data_dir: The server's.
    """
    ((relation, page),) = connection.execute(
        "SELECT pg_relation_filepath(to_regclass(%s)), current_setting('block_size')::int", [table]
    )
    return any(_has_empty_page(file, page) for file in _files(data_dir / str(relation)))


def _files(first: Path) -> Iterator[Path]:
    yield first
    number = 1
    while (file := first.with_name(f"{first.name}.{number}")).exists():
        yield file
        number += 1


def _has_empty_page(path: Path, page: int) -> bool:
    nothing = bytes(page)
    with path.open("rb") as file:
        while content := file.read(_PAGES_AT_ONCE * page):
            if nothing in content and any(content[at : at + page] == nothing for at in range(0, len(content), page)):
                return True
    return False
