from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_workflows.errors import RefusedError
from ops_workflows.repository.layout import Layout, new_backup_id

MOMENT = datetime(2026, 1, 31, 2, 0, 0, tzinfo=UTC)
ID = "20260131T020000Z-7c1e"
MOMENTS = st.integers(0, 4_000_000_000).map(lambda second: datetime.fromtimestamp(second, UTC))


def test_keys() -> None:
    layout = Layout("ops", "77")
    assert layout.backup(ID, "backup.json") == f"ops/77/backups/{ID}/backup.json"
    assert Layout("", "77").backup(ID) == f"77/backups/{ID}/"
    assert layout.backup_id(layout.backup(ID, "base.tar.zst")) == ID
    assert layout.proof(ID, MOMENT, "booted").startswith(layout.proofs(ID))


@given(MOMENTS)
def test_new_ids_are_ids(now: datetime) -> None:
    Layout("ops", "77").backup(new_backup_id(now))


@given(MOMENTS, MOMENTS)
def test_ids_sort_by_time(one: datetime, other: datetime) -> None:
    if one.replace(microsecond=0) < other.replace(microsecond=0):
        assert new_backup_id(one) < new_backup_id(other)


@pytest.mark.parametrize("name", ["", "latest", "..", f"{ID}/..", f"../{ID}", f"{ID} ", f"{ID}\n", ID.upper(), ID[:-1]])
def test_what_is_no_id_never_becomes_a_key(name: str) -> None:
    with pytest.raises(RefusedError, match="is no backup id"):
        Layout("ops", "77").backup(name, "backup.json")


def test_proofs_of_a_backup_sort_by_time() -> None:
    layout = Layout("ops", "77")
    moments = [MOMENT.replace(microsecond=part) for part in (0, 9, 10, 100_000)]
    keys = [layout.proof(ID, at, "stored") for at in moments]
    assert keys == sorted(keys)
