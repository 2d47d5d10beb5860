"""What `ops wal status` makes of what it finds: whether the newest WAL can be reached, and how far it is behind."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from ops_workflows.backup.wal_status import ServerSide, WalStatus
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.wal import Branch, Piece, Range, WalListing
from tests.support.records import MOMENT, backup

SEGMENT = 16 * 1024 * 1024
OBJECTIVE = 60.0
FORK = Lsn.parse("0/5000064")


def lsn(text: str) -> Lsn:
    return Lsn.parse(text)


def log(
    *parts: tuple[int, str, str, datetime | None], branches: Mapping[int, Sequence[Branch]] | None = None
) -> WalListing:
    """Ranges of a timeline, each one object, with the time until which it was all there was."""
    pieces = [
        Piece(f"{timeline}/{start}", timeline, lsn(start), lsn(end), MOMENT, True, all_until)
        for timeline, start, end, all_until in parts
    ]
    return WalListing(tuple(pieces), frozenset(branches or {}), branches or {})


def server(end: str, timeline: int = 1, **more: Any) -> ServerSide:
    usual: dict[str, Any] = {
        "system": "7711281658445912347",
        "now": MOMENT + timedelta(minutes=10),
        "timeline": timeline,
        "segment_bytes": SEGMENT,
        "server_end": end,
        "active": True,
        "kept": "reserved",
        "sync_state": "async",
    }
    return ServerSide(**(usual | more))


def status(answer: ServerSide | None, found: WalListing, *backups: Backup) -> WalStatus:
    return WalStatus.of(answer, "", backups, found, OBJECTIVE)


FIRST = backup(start_lsn=lsn("0/2000028"), stop_lsn=lsn("0/2000120"))


def test_a_new_timeline_that_no_backup_leads_to_is_cut_off() -> None:
    """An asynchronous standby took over: the old timeline's end in the bucket lies behind where the new one begins."""
    found = log(
        (1, "0/2000000", "0/A000000", MOMENT),
        (2, "0/8000000", "0/9000000", MOMENT),
        branches={2: [Branch(1, FORK)]},
    )
    said = status(server("0/9000000", 2), found, FIRST)
    assert said.cut_off == Range(2, lsn("0/8000000"), lsn("0/9000000"))
    assert said.gaps == (Range(2, FORK, lsn("0/8000000")),)
    assert not said.is_whole
    read = said.as_dict()
    assert read["cut_off"] == {"timeline": 2, "start": "0/8000000", "end": "0/9000000"}
    assert read["gaps"] == [{"timeline": 2, "start": "0/5000064", "end": "0/8000000"}]
    assert read["is_whole"] is False


def test_a_backup_of_the_new_timeline_mends_it() -> None:
    found = log(
        (1, "0/2000000", "0/A000000", MOMENT),
        (2, "0/8000000", "0/B000000", MOMENT),
        branches={2: [Branch(1, FORK)]},
    )
    second = backup(timeline=2, start_lsn=lsn("0/9000028"), stop_lsn=lsn("0/9000120"))
    said = status(server("0/B000000", 2), found, FIRST, second)
    assert (said.cut_off, said.is_whole) == (None, True)
    assert said.gaps == (Range(2, FORK, lsn("0/8000000")),)  # of the first backup, moments behind it stay lost
    assert status(server("0/B000000", 2), found, second).gaps == ()


def test_a_new_timeline_that_begins_where_the_old_one_was_left_is_not() -> None:
    found = log(
        (1, "0/2000000", "0/A000000", MOMENT),
        (2, "0/5000000", "0/9000000", MOMENT),
        branches={2: [Branch(1, FORK)]},
    )
    said = status(server("0/9000000", 2), found, FIRST)
    assert (said.cut_off, said.gaps, said.is_whole) == (None, (), True)


def test_a_timeline_without_its_history_is_cut_off() -> None:
    found = log((1, "0/2000000", "0/5000000", MOMENT), (2, "0/5000000", "0/9000000", MOMENT))
    assert status(server("0/9000000", 2), found, FIRST).cut_off == Range(2, lsn("0/5000000"), lsn("0/9000000"))


def test_a_backup_that_is_ahead_of_the_log_is_not_cut_off_from_it() -> None:
    """It has just ended, and the receiver is some seconds behind."""
    assert status(server("0/3000000"), log((1, "0/1000000", "0/2000090", MOMENT)), FIRST).cut_off is None
    ahead = FIRST.model_copy(update={"timeline": 2})
    assert status(server("0/3000000", 2), log((1, "0/1000000", "0/9000000", MOMENT)), ahead).cut_off is None


@pytest.mark.parametrize(("seconds", "kept"), [(10, True), (60, True), (61, False)])
def test_the_lag_is_the_age_of_the_newest_moment_that_is_whole(seconds: int, kept: bool) -> None:
    """By the server's clock, whatever ours says; and not what PostgreSQL last measured of its receiver."""
    answer = server("0/3000100")
    found = log((1, "0/2000000", "0/3000090", answer.now - timedelta(seconds=seconds)))
    said = status(answer, found, FIRST)
    assert (said.lag_bytes, said.lag_seconds, said.keeps_objective) == (0x70, seconds, kept)
    assert said.as_dict()["keeps_objective"] is kept


def test_when_the_last_object_was_stored_is_no_measure() -> None:
    """The receiver works off a backlog: what it has just stored was written long ago."""
    answer = server("0/5000000")
    found = log((1, "0/2000000", "0/3000090", answer.now - timedelta(minutes=5)))
    late = Piece("late", 1, lsn("0/3000090"), lsn("0/4000000"), answer.now, True)
    said = status(answer, replace(found, pieces=(*found.pieces, late)), FIRST)
    assert (said.lag_seconds, said.keeps_objective) == (300, False)
    assert said.window is not None
    assert said.window[1] == answer.now - timedelta(minutes=5)


def test_what_nobody_knows_is_no_promise() -> None:
    said = status(server("0/3000100"), log((1, "0/2000000", "0/3000090", None)), FIRST)
    assert (said.lag_bytes, said.lag_seconds, said.keeps_objective) == (0x70, None, False)
    assert said.window == (FIRST.finished_at, FIRST.finished_at)


def test_a_bucket_that_has_all_is_not_behind() -> None:
    """However long the database has been idle; and all moments until now can be had."""
    answer = server("0/3000090")
    said = status(answer, log((1, "0/2000000", "0/3000090", MOMENT)), FIRST)
    assert (said.lag_bytes, said.lag_seconds, said.keeps_objective) == (0, 0.0, True)
    assert said.window == (FIRST.finished_at, answer.now)


def test_more_of_an_old_timeline_is_nothing_of_the_new_one() -> None:
    """The server was promoted, and nothing of that has come in: the log in the bucket ends where it was left."""
    found = log(
        (1, "0/2000000", "0/4000000", MOMENT),
        (1, "0/4000000", "0/A000000", MOMENT + timedelta(minutes=9)),
        branches={2: [Branch(1, FORK)]},
    )
    said = status(server("0/9000000", 2), found, FIRST)
    assert (said.position, said.lag_bytes) == (FORK, lsn("0/9000000") - FORK)
    assert (said.lag_seconds, said.keeps_objective) == (600, False)
    unknown = status(server("0/9000000", 2), replace(found, branches={}), FIRST)
    assert (unknown.position, unknown.lag_bytes, unknown.keeps_objective) == (None, None, False)


def test_a_server_that_does_not_answer() -> None:
    said = status(None, log((1, "0/2000000", "0/3000090", MOMENT + timedelta(minutes=1))), FIRST)
    assert (said.position, said.lag_bytes, said.lag_seconds) == (lsn("0/3000090"), None, None)
    assert (said.is_whole, said.keeps_objective) == (False, False)
    assert said.window == (FIRST.finished_at, MOMENT + timedelta(minutes=1))


def test_without_a_backup_nothing_is_cut_off_and_nothing_is_whole() -> None:
    said = status(server("0/3000090"), log((1, "0/2000000", "0/3000090", MOMENT)))
    assert (said.cut_off, said.window, said.is_whole) == (None, None, False)
