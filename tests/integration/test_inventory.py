"""What a database holds, object by object and row by row, and what of that is settled."""

from collections.abc import Iterator

import pytest

from ops_workflows.postgres import inventory
from ops_workflows.postgres.connection import connect
from tests.support.continuous import values
from tests.support.servers import ScratchServer, scratch_server

ROWS = 20_000


@pytest.fixture(scope="module")
def server() -> Iterator[ScratchServer]:
    with scratch_server(autovacuum="off") as made:
        execute(made, f"CREATE TABLE log AS SELECT md5(n::text) AS word FROM generate_series(1, {ROWS}) n")
        yield made


def execute(server: ScratchServer, *statements: str) -> None:
    with server.connect() as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_which_rows_are_settled(server: ScratchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows know the last 32 bits only of who made them: the same in each epoch, and across the step to the next."""
    execute(server, "CREATE TABLE made (n int)", *(f"INSERT INTO made VALUES ({n})" for n in (1, 2, 3)))
    with connect(server.dsn()) as connection, connection.transaction():
        first, second, third = map(int, values(connection, "SELECT xmin::text FROM made ORDER BY n"))
        epoch = 2**32
        for name, undecided, rows in (
            ("none", range(third + 1, third + 1), 3),
            ("only newer ones", range(third + 1, third + 9), 3),
            ("the newest", range(third, third + 1), 2),
            ("the middle one", range(second, second + 1), 2),
            ("all", range(first, third + 1), 0),
            ("in a later epoch", range(7 * epoch + second, 7 * epoch + third + 1), 1),
            ("over the step to the next", range(7 * epoch - 5, 7 * epoch + second + 1), 1),
            ("before the step", range(7 * epoch - 5, 7 * epoch), 3),
            ("more than there are", range(second, second + epoch), 0),
        ):
            assert inventory.count(connection, "public.made", undecided) == rows, name


def test_rights_and_the_order_of_columns_are_apart_from_definitions(server: ScratchServer) -> None:
    execute(server, "CREATE TABLE held (a int, b serial, c int NOT NULL)", "CREATE ROLE somebody")
    with connect(server.dsn()) as connection:
        before = inventory.definitions(connection)
        execute(server, "ALTER TABLE held OWNER TO somebody", "GRANT SELECT ON held TO ops_backup")
        granted = inventory.definitions(connection)
        execute(server, "ALTER TABLE held DROP COLUMN a")
        dropped = inventory.definitions(connection)
    rights = {"rights on relation public.held", "rights on sequence public.held_b_seq on public.held"}
    changed = {identity for identity, found in granted.items() if found.digest != before[identity].digest}
    assert (before.keys() == granted.keys(), changed) == (True, rights)
    newer = set[int]().union(*(granted[each].writers - before[each].writers for each in rights))
    assert newer
    assert not any(granted[each].is_settled(range(min(newer), max(newer) + 1)) for each in rights)
    changed = {identity for identity, found in dropped.items() if found.digest != granted[identity].digest}
    assert changed == {"order of columns on public.held"}
    assert granted.keys() - dropped.keys() == {"column public.held.a"}


def test_a_table_is_counted_in_parts(server: ScratchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(server, f"CREATE TABLE long AS SELECT md5(n::text) FROM generate_series(1, {ROWS}) n")
    with connect(server.dsn()) as connection, connection.transaction():
        (size,) = values(connection, "SELECT pg_relation_size('long') / 8192")
        for blocks in (1, 7, size // 2, size - 1, size, size + 1):
            monkeypatch.setattr(inventory, "_BLOCKS_AT_ONCE", blocks)
            assert inventory.count(connection, "public.long") == ROWS
            assert inventory.count(connection, "public.long", range(2**40, 2**40 + 1)) == ROWS
        assert inventory.count(connection, "public.not_there") is None


def test_a_statement_that_takes_too_long_leaves_its_table_uncounted(server: ScratchServer) -> None:
    with connect(server.dsn()) as connection, connection.transaction():
        connection.execute("SET LOCAL statement_timeout = '1ms'")
        assert inventory.count(connection, "public.log", range(1, 2)) is None
        connection.execute("SET LOCAL statement_timeout = 0")
        assert inventory.count(connection, "public.log") is not None
