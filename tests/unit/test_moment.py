"""Moments as people write them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_workflows.errors import RefusedError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.restore.moment import AtLsn, AtName, AtTime, Latest, parse_moment

INDIA = timezone(timedelta(hours=5, minutes=30))


def test_latest() -> None:
    assert parse_moment("latest") == Latest()


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-31T02:00:00Z", datetime(2026, 1, 31, 2, tzinfo=UTC)),
        ("2026-01-31 02:00:00.123456+00:00", datetime(2026, 1, 31, 2, 0, 0, 123456, tzinfo=UTC)),
        ("2026-01-31T07:30:00+05:30", datetime(2026, 1, 31, 7, 30, tzinfo=INDIA)),
        ("2026-01-31T02:00Z", datetime(2026, 1, 31, 2, tzinfo=UTC)),
    ],
)
def test_times(text: str, time: datetime) -> None:
    assert parse_moment(text) == AtTime(time)


@pytest.mark.parametrize("text", ["2026-01-31T02:00:00", "2026-01-31 02:00", "2026-01-31"])
def test_a_time_without_a_zone_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="has no time zone, so it could mean another hour"):
        parse_moment(text)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "name:", "16/", "/16", "16/B374D848/1", "1234567890/1", "LATEST", "-"]
)
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(RefusedError, match="is no moment: write latest"):
        parse_moment(text)


@given(st.integers(0, 2**64 - 1))
def test_places(at: int) -> None:
    assert parse_moment(str(Lsn(at))) == AtLsn(Lsn(at))
    assert parse_moment(str(Lsn(at)).lower()) == AtLsn(Lsn(at))


@given(st.text(min_size=1))
def test_names(name: str) -> None:
    assert parse_moment(f"name:{name}") == AtName(name)


@given(st.datetimes(timezones=st.just(INDIA)))
def test_what_is_said_of_a_time_is_the_same_time(time: datetime) -> None:
    if time.year > 1000:
        said = str(AtTime(time)).removesuffix(" UTC")
        assert datetime.fromisoformat(f"{said}+00:00") == time
