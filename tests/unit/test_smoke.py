"""Smoke queries: each has a name, an expectation and SQL, or the file is refused."""

from pathlib import Path

import pytest

from ops_workflows.errors import ConfigurationError
from ops_workflows.proof.smoke import SmokeQuery, parse_smoke, read_smoke

TWO = """-- All that matters.

-- name: one
-- expect: 1
SELECT 1;

-- name: two; with a remark
-- expect: true
-- a remark
SELECT true
"""


def test_a_file() -> None:
    assert parse_smoke(TWO, "x") == [
        SmokeQuery("one", "1", "SELECT 1;"),
        SmokeQuery("two; with a remark", "true", "-- a remark\nSELECT true"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SELECT 1",
        "-- name: one\nSELECT 1",
        "-- name: one\n-- expect:\nSELECT 1",
        "-- name: one\n-- expect: 1\n",
        TWO + "-- name: three\nSELECT 3",
        TWO + "-- expect: 3\nSELECT 3",
    ],
)
def test_what_is_left_out_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="needs the lines"):
        parse_smoke(text, "x")


def test_no_file_is_no_queries(tmp_path: Path) -> None:
    assert read_smoke(tmp_path / "smoke.sql") is None
    with pytest.raises(ConfigurationError, match="OPS_SMOKE_FILE"):
        read_smoke(tmp_path)


def test_the_applications_own_can_be_read() -> None:
    queries = read_smoke(Path("deploy/smoke.sql"))
    assert queries is not None
    assert len(queries) >= 5
