from pathlib import Path

import pytest

from ops_workflows.errors import ConfigurationError
from ops_workflows.schema.apply import OWN_DIRECTORY
from ops_workflows.schema.files import read_migrations

APPLICATION = Path(__file__).parents[2] / "migrations"


def folder_of(tmp_path: Path, *names: str) -> Path:
    for name in names:
        (tmp_path / name).write_text("select 1;")
    return tmp_path


def test_versions_are_ordered_as_numbers_not_as_text(tmp_path: Path) -> None:
    found = read_migrations(folder_of(tmp_path, "10_b.up.sql", "9_a.up.sql", "20260101120000_c.up.sql"))
    assert [migration.version for migration in found] == [9, 10, 20260101120000]


def test_a_pair_is_one_migration_and_other_files_are_left_alone(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "000001_add_users.up.sql", "000001_add_users.down.sql", "README.md", ".gitkeep")
    (migration,) = read_migrations(folder)
    assert (migration.version, migration.name) == (1, "add_users")
    assert migration.up.name == "000001_add_users.up.sql"
    assert migration.down is not None
    assert migration.down.name == "000001_add_users.down.sql"


def test_a_way_back_is_optional(tmp_path: Path) -> None:
    (migration,) = read_migrations(folder_of(tmp_path, "1_a.up.sql"))
    assert migration.down is None


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["1_a.up.sql", "01_b.up.sql"], "both claim version 1"),
        (["1_a.up.sql", "1_a.up.sql~"], "both claim version 1"),
        (["1_a.up.sql", "2_b.down.sql"], "2_b.down.sql has no up file"),
        (["1_a.up.sql", "2_b.sql"], "would never be applied"),
        (["1-a.up.sql"], "would never be applied"),
        ([f"{2**63}_a.up.sql"], "cannot be recorded"),
        (["README.md"], "holds no migrations"),
        ([], "holds no migrations"),
    ],
)
def test_refuses_with_a_sentence(tmp_path: Path, names: list[str], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        read_migrations(folder_of(tmp_path, *names))


def test_refuses_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="OPS_MIGRATIONS_DIR"):
        read_migrations(tmp_path / "nowhere")


@pytest.mark.parametrize("folder", [APPLICATION, OWN_DIRECTORY], ids=["application", "own"])
def test_our_own_migrations_are_numbered_without_gaps_and_all_have_a_way_back(folder: Path) -> None:
    found = read_migrations(folder)
    assert [migration.version for migration in found] == list(range(1, len(found) + 1))
    assert all(migration.down for migration in found)
