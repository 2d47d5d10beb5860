"""Migration files, read: how each wants to be run, and what is refused before anything is begun."""

import hashlib
from pathlib import Path

import pytest

from ops_workflows.errors import ConfigurationError
from ops_workflows.schema.source import Source, read_source


def read(folder: Path, content: str | bytes) -> Source:
    path = folder / "000001_step.up.sql"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_source(path)


@pytest.mark.parametrize(
    ("script", "whole"),
    [
        ("create table a ();", True),
        ("create index i on a (x);", True),
        ("create index concurrently i on a (x);", False),
        ("create unique index concurrently i on a (x);", False),
        ('create index concurrently "on" on a (x);', False),
        ("drop index concurrently i;", False),
        ("reindex index concurrently i;", False),
        ("alter table p detach partition p1 concurrently;", False),
        ("refresh materialized view concurrently m;", True),
        ("comment on table a is 'create index concurrently';", True),
        ("select 1; -- vacuum\n", True),
        ("vacuum a;", False),
        ("alter system set work_mem = '1MB';", False),
        ("create database d;", False),
        ("begin; create table a (); commit;", False),
        ("do $$ begin perform 1; end $$;", True),
        ("create function f() returns int begin atomic select 1; end;", True),
        ("-- ops: no-transaction\ncreate table a ();", False),
        ("create table a ();\n-- ops: no-transaction\n", True),  # only above the first statement
        ("", True),
    ],
)
def test_how_it_is_run(tmp_path: Path, script: str, whole: bool) -> None:
    assert read(tmp_path, script).whole is whole


def test_what_its_head_says(tmp_path: Path) -> None:
    source = read(tmp_path, "-- Adds a column.\n-- ops: lock-timeout 500ms\n--ops: statement-timeout 2 h\nselect 1;")
    assert (source.lock_timeout, source.statement_timeout, source.whole) == (0.5, 7200, True)


def test_lines_end_as_windows_ends_them(tmp_path: Path) -> None:
    content = b"-- ops: no-transaction\r\nselect 1;\r\nselect 2;\r\n"
    source = read(tmp_path, content)
    assert not source.whole
    assert [source.line(each.start) for each in source.statements] == [2, 3]
    assert source.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"select '\xff';", "cannot be read"),
        ("\ufeffselect 1;", "byte order mark"),
        ("-- ops: no-transactions\nselect 1;", "line 1: “-- ops: no-transactions” is not understood"),
        ("-- ops: lock-timeout soon\nselect 1;", "lock-timeout soon"),
        ("select 1;\nbegin;\nselect 2;", "line 2, begins a transaction and does not end it"),
        (
            "select 1;\ncreate index concurrently on a (x);",
            "line 2, builds an index concurrently without a name: give it",
        ),
        ("create unique index concurrently /* any */ ON a (x);", "line 1, builds an index concurrently without a name"),
        ("begin;\nselect 2; rollback to savepoint s;", "line 1, begins a transaction and does not end it"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: str | bytes, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        read(tmp_path, content)
