from dataclasses import fields
from typing import Any

import pytest

from ops_workflows.backup.preflight import Facts, refusals, warnings

GOOD: dict[str, Any] = {
    "server_version": 180006, "role": "ops_backup", "may_replicate": True, "may_read": True, "wal_level": "replica",
    "max_wal_senders": 10, "wal_senders": 1, "in_recovery": False, "data_checksums": True, "summarize_wal": True,
    "wal_segment_bytes": 16 * 1024 * 1024, "superuser": "postgres",
}  # fmt: skip


def facts(**more: object) -> Facts:
    known = {field.name for field in fields(Facts)}
    return Facts(**{name: value for name, value in (GOOD | more).items() if name in known})


def test_nothing_stands_in_the_way() -> None:
    assert refusals(facts()) == []
    assert warnings(facts()) == []


@pytest.mark.parametrize(
    ("fact", "says"),
    [
        ({"server_version": 140011}, "PostgreSQL 14 is too old"),
        ({"may_replicate": False}, "ALTER ROLE ops_backup REPLICATION"),
        ({"wal_level": "minimal"}, "set wal_level = replica"),
        ({"wal_senders": 10}, "No free WAL sender: 10 of max_wal_senders = 10"),
        ({"max_wal_senders": 0, "wal_senders": 0}, "No free WAL sender"),
    ],
)
def test_each_refusal_says_what_to_do(fact: dict[str, object], says: str) -> None:
    (found,) = refusals(facts(**fact))
    assert says in found


def test_a_service_that_offers_no_protocol_is_told_apart_from_a_role_that_may_not() -> None:
    (found,) = refusals(facts(service="Cloud SQL", may_replicate=False, wal_level="minimal", wal_senders=10))
    assert "Cloud SQL offers no replication protocol, so there are dumps (`ops dump`)" in found
    assert "ALTER ROLE" not in found
    assert refusals(facts(service="Cloud SQL")) == []


def test_all_refusals_are_told_at_once() -> None:
    assert len(refusals(facts(server_version=140000, may_replicate=False, wal_level="minimal", wal_senders=10))) == 4


@pytest.mark.parametrize(
    ("fact", "says"), [({"data_checksums": False}, "pg_checksums"), ({"may_read": False}, "GRANT pg_read_all_data")]
)
def test_warnings_do_not_refuse(fact: dict[str, object], says: str) -> None:
    assert refusals(facts(**fact)) == []
    (found,) = warnings(facts(**fact))
    assert says in found
