"""Faults of the source itself, which is broken before it is backed up: every checksum fits, and the data are wrong."""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from random import Random

from ops_workflows.faults.kinds import Fault, Made
from ops_workflows.faults.look import BackupLook
from ops_workflows.faults.source import Source
from ops_workflows.faults.stage import Stage
from ops_workflows.postgres.programs import run
from ops_workflows.repository.rungs import Rung

_FAMILY = "source"
_SQL = files(__package__).joinpath("broken.sql").read_text()
_PAGE = 8192
_HEADER = 24  # bytes of a page's header, behind which the line pointers are
_FUTURE = 4_000_000_000  # a transaction that nobody has begun
_SECONDS = 120
Break = Callable[[Path, Random], None]


def faults() -> list[Fault]:
    """All of them."""
    return [
        _by_sql("index: on a function that has changed its mind", "victim_keys", _CHANGED_FUNCTION, fast=True),
        _by_sql("index: in another order than it says", "victim_word", _OTHER_ORDER),
        _by_sql("index: unique, with the same key twice", "victim_keys", _SAID_TO_BE_UNIQUE),
        _by_file("index: its leaves are empty pages", Rung.SOUND, "victim_word", "victim_word", _empty_page),
        _by_file("index: truncated", Rung.SOUND, "victim_word", "victim_word", _truncated),
        _by_file("table: a row from the future", Rung.SOUND, "victim", "victim", _from_the_future),
        _by_file("table: a row that begins in the wrong place", Rung.SOUND, "victim", "victim", _misplaced),
        _by_file("table: truncated", Rung.SOUND, "victim", "victim", _truncated),
        _by_file("table: an empty page in the middle", Rung.SOUND, "victim", "victim", _empty_page),
        _by_file("table: an empty page, unvacuumed", Rung.SOUND, "victim", "victim", _empty_page, before=_UNVACUUMED),
        _by_file("out-of-line values: gone", Rung.BOOTED, _TOAST, "victim", _nothing_left),
    ]


_CHANGED_FUNCTION = "CREATE OR REPLACE FUNCTION victim_key(n int) RETURNS int LANGUAGE sql IMMUTABLE RETURN n % 99"
_OTHER_ORDER = """
    SET allow_system_table_mods = on;
    UPDATE pg_index SET indoption = '3' WHERE indexrelid = 'victim_word'::regclass"""
_SAID_TO_BE_UNIQUE = """
    SET allow_system_table_mods = on;
    UPDATE pg_index SET indisunique = true WHERE indexrelid = 'victim_keys'::regclass"""
_UNVACUUMED = "UPDATE victim SET word = word"  # so that no page is marked as seen by everybody
_TOAST = "(SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'victim'::regclass)"


def _by_sql(kind: str, word: str, script: str, *, fast: bool = False) -> Fault:
    @contextmanager
    def make(stage: Stage, _chance: Random) -> Iterator[Made]:
        with _victim(stage.other):
            stage.other.run(script)
            yield Made(_backed_up(stage), (word,))

    return Fault(kind, _FAMILY, Rung.SOUND, make, fast)


def _by_file(kind: str, must: str, relation: str, word: str, how: Break, *, before: str = "") -> Fault:
    @contextmanager
    def make(stage: Stage, chance: Random) -> Iterator[Made]:
        with _altered(stage, relation, lambda path: how(path, chance), before) as look:
            yield Made(look, (word,))

    return Fault(kind, _FAMILY, must, make)


@contextmanager
def unwritten_pages(stage: Stage, _chance: Random) -> Iterator[BackupLook]:
    """Healthy: a table that was made longer, and whose new pages nobody had written when its server crashed."""
    with _altered(stage, "victim", _longer, _UNVACUUMED) as look:
        yield look


@contextmanager
def _altered(stage: Stage, relation: str, how: Callable[[Path], None], before: str) -> Iterator[BackupLook]:
    """A look at a backup of a server whose files were altered while it was stopped."""
    source = stage.other
    with _victim(source):
        path = _path(source, relation)
        source.run(f"{before}; CHECKPOINT")
        server = source.server
        server.stop()
        how(path)
        for switch in ("--disable", "--enable"):  # which computes every page's checksum anew
            where = ("--pgdata", server.data_dir)
            checksums = server.programs.path("pg_checksums")
            run(checksums, switch, "--no-sync", *where, timeout=_SECONDS, account=server.account)
        server.start()
        yield _backed_up(stage)


@contextmanager
def _victim(source: Source) -> Iterator[None]:
    with source.connected() as connection:
        for statement in _SQL.split(";\n"):
            if statement.strip():
                connection.execute(statement.encode())
    try:
        yield
    finally:
        source.server.start()  # where it was stopped to be broken, and something went wrong
        source.run("DROP TABLE victim; DROP FUNCTION victim_key")


def _backed_up(stage: Stage) -> BackupLook:
    backup = stage.other.back_up_and_plant()
    return BackupLook(stage.other.settings, backup.system, backup.id, stage.progress)


def _path(source: Source, relation: str) -> Path:
    named = relation if relation.startswith("(") else f"'{relation}'::regclass"
    with source.connected() as connection:
        row = connection.execute(f"SELECT pg_relation_filepath({named})".encode()).fetchone()
    return source.server.data_dir / str(row and row[0])


def _pages(path: Path) -> int:
    return path.stat().st_size // _PAGE


def _empty_page(path: Path, _chance: Random) -> None:
    """Not the first, where an index says what it is. A page of zeros counts as a new one, and needs no checksum."""
    with path.open("r+b") as file:
        file.seek(_PAGE * (_pages(path) // 2))
        file.write(bytes(_PAGE))


def _longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(2 * _PAGE))


def _truncated(path: Path, chance: Random) -> None:
    with path.open("r+b") as file:
        file.truncate(_PAGE * chance.randrange(_pages(path) // 2, _pages(path)))


def _nothing_left(path: Path, _chance: Random) -> None:
    with path.open("r+b") as file:
        file.truncate(0)


def _from_the_future(path: Path, chance: Random) -> None:
    _alter_row(path, chance, lambda row: struct.pack_into("=I", row, 0, _FUTURE))


def _misplaced(path: Path, chance: Random) -> None:
    """Its header is said to be longer than the row."""
    _alter_row(path, chance, lambda row: struct.pack_into("=B", row, 22, 248))


def _alter_row(path: Path, chance: Random, alter: Callable[[memoryview], None]) -> None:
    """Alter the first row of a page of a table.

    https://www.postgresql.org/docs/current/storage-page-layout.html
    """
    page = bytearray(path.read_bytes())
    start = _PAGE * chance.randrange(_pages(path))
    (pointer,) = struct.unpack_from("=I", page, start + _HEADER)
    alter(memoryview(page)[start + (pointer & 0x7FFF) :])
    with path.open("r+b") as file:
        file.write(page)
