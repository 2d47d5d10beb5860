import json

import pytest

from ops_workflows.errors import IntegrityError
from ops_workflows.repository.backup import Backup, RowsRecord, read
from tests.support.records import archive, backup, with_tablespaces


def test_what_is_written_can_be_read() -> None:
    written = with_tablespaces(16385)
    assert read(Backup, written.model_dump_json().encode(), "backup.json") == written


def test_lsns_are_written_as_postgresql_does() -> None:
    assert json.loads(backup().model_dump_json())["start_lsn"] == "0/2000028"


def test_unknown_fields_of_a_later_program_are_ignored() -> None:
    content = json.loads(backup().model_dump_json()) | {"later": 1}
    assert read(Backup, json.dumps(content).encode(), "backup.json") == backup()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", r"backup\.json cannot be read"),
        (b"{}", r"backup\.json cannot be read: id"),
        (b"[]", r"backup\.json cannot be read"),
        (backup().model_dump_json().replace('"format":1', '"format":2').encode(), "format"),
        (backup().model_dump_json().replace("0/2000028", "here").encode(), "start_lsn"),
        (b"\xff\xfe", r"backup\.json cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(content: bytes, says: str) -> None:
    with pytest.raises(IntegrityError, match=says):
        read(Backup, content, "backup.json")


def test_the_main_archive_comes_first() -> None:
    assert [stored.name for stored in with_tablespaces(3, 1).archives()] == ["base.tar.zst", "1.tar.zst", "3.tar.zst"]


def test_what_it_says_of_itself() -> None:
    made = backup(objects=(archive("base.tar.zst", 7), archive("backup_manifest", 5)))
    assert (made.major, made.stored_bytes, made.seconds) == (18, 12, 10.0)
    assert made.has("backup_manifest")
    with pytest.raises(IntegrityError, match=r"has no object rows\.json"):
        made.object("rows.json")


def test_a_count_that_is_none_is_no_count() -> None:
    with pytest.raises(IntegrityError, match=r"rows\.json cannot be read"):
        read(RowsRecord, b'{"exact": true}', "rows.json")
