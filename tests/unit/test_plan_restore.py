"""What a restore refuses before it touches anything."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_workflows.errors import RefusedError
from ops_workflows.repository.backup import Backup
from ops_workflows.restore.choose import own_end
from ops_workflows.restore.plan import RestorePlan, plan_restore
from ops_workflows.restore.target import MARK, Folder, filling
from tests.support.records import backup, with_tablespaces

GB = 10**9


def folder(path: str = "/srv/data", **more: object) -> Folder:
    usual = {"is_folder": True, "empty": True, "interrupted": False, "writable": True, "free_bytes": GB}
    return Folder(Path(path), **(usual | more))  # type: ignore[arg-type]


def planned(of: Backup, target: Folder, tablespaces: dict[int, Folder] | None = None) -> RestorePlan:
    return plan_restore(own_end(of), (of,), target, tablespaces or {})


def test_an_empty_folder_is_taken() -> None:
    plan = planned(backup(), folder())
    assert plan.target == Path("/srv/data")
    assert plan.clear == ()
    assert "20260131T020000Z-7c1e" in "\n".join(plan.describe())


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (folder(is_folder=False), "is a file"),
        (folder(writable=False), "cannot be written by us"),
        (folder(empty=False), "is not empty"),
        (folder(free_bytes=1), "has too little room"),
    ],
)
def test_a_folder_that_will_not_do(target: Folder, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        planned(backup(), target)
    space = replace(target, path=Path("/srv/space"))
    with pytest.raises(RefusedError, match=says):
        planned(with_tablespaces(1), folder(), {1: space})


@pytest.mark.parametrize("spoiling", [*"\"'$`\\%,\n", "\udcff"])
def test_a_path_that_the_programs_on_the_way_would_misread(spoiling: str) -> None:
    with pytest.raises(RefusedError, match=r"A restore cannot work in .*means something to PostgreSQL's programs"):
        planned(backup(), folder(f"/srv/a{spoiling}b/data"))
    assert planned(with_tablespaces(1), folder(), {1: folder(f"/srv/{spoiling}")})  # these it only names in a file


def test_a_path_may_be_odd_otherwise() -> None:
    assert planned(backup(), folder("/srv/données (1) = [à] & #;~!/data")).starts


def test_what_was_interrupted_is_cleared_first() -> None:
    assert planned(backup(), folder(empty=False, interrupted=True)).clear == (Path("/srv/data"),)


def test_tablespaces_have_to_be_placed_and_nothing_else() -> None:
    with pytest.raises(RefusedError, match="has tablespace 2: say where to"):
        planned(with_tablespaces(1, 2), folder(), {1: folder("/srv/1")})
    with pytest.raises(RefusedError, match="has no tablespace 3: it has 1"):
        planned(with_tablespaces(1), folder(), {1: folder("/srv/1"), 3: folder("/srv/3")})
    assert planned(with_tablespaces(1), folder(), {1: folder("/srv/1")}).tablespaces == {1: Path("/srv/1")}


@pytest.mark.parametrize("place", ["/srv/data", "/srv/data/space", "/srv"])
def test_each_has_a_folder_of_its_own(place: str) -> None:
    with pytest.raises(RefusedError, match="its own folder"):
        planned(with_tablespaces(1), folder(), {1: folder(place)})


@given(size=st.integers(0, 10**13), free=st.integers(0, 10**13))
def test_no_plan_for_more_than_there_is_room(size: int, free: int) -> None:
    of = backup(database_bytes=size)
    if free < size:
        with pytest.raises(RefusedError, match="too little room"):
            planned(of, folder(free_bytes=free))
    elif free > size * 1.06:
        planned(of, folder(free_bytes=free))


def test_looking_at_folders(tmp_path: Path) -> None:
    assert Folder.look(tmp_path / "a/b/c").empty
    assert Folder.look(tmp_path).empty
    (tmp_path / "lost+found").mkdir()
    assert Folder.look(tmp_path).empty
    (tmp_path / "file").touch()
    assert not Folder.look(tmp_path).empty
    assert not Folder.look(tmp_path).interrupted
    assert not Folder.look(tmp_path / "file").is_folder
    assert not Folder.look(tmp_path / "file/below").is_folder
    (tmp_path / MARK).touch()
    assert Folder.look(tmp_path).interrupted


@pytest.mark.parametrize("below", ["", "data"])
def test_a_symbolic_link_that_leads_nowhere(tmp_path: Path, below: str) -> None:
    link = tmp_path / "link"
    for nowhere in (tmp_path / "gone", link):
        link.symlink_to(nowhere)
        with pytest.raises(RefusedError, match=f"{link} is a symbolic link that leads nowhere"):
            Folder.look(link / below)
        link.unlink()


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    for place in (tmp_path / ("x" * 300), tmp_path / ("x" * 300) / "data"):
        with pytest.raises(RefusedError, match=r"cannot be used \(File name too long\)"):
            Folder.look(place)


def test_a_folder_that_can_no_longer_be_made(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "gone")
    (tmp_path / "file").touch()
    for place, why in ((link, "File exists"), (tmp_path / "file/data", "Not a directory")):
        with pytest.raises(RefusedError, match=f"{place} cannot be used \\({why}\\)"):
            filling((place,), ()).__enter__()


def test_a_folder_is_marked_while_it_is_filled_and_stays_marked_when_that_fails(tmp_path: Path) -> None:
    place, other = tmp_path / "new/data", tmp_path / "other"
    with filling((place, other), ()):
        assert Folder.look(place).interrupted
        assert Folder.look(other).interrupted
    assert Folder.look(place).empty
    with pytest.raises(OSError, match="full"), filling((place,), ()):
        raise OSError("full")
    assert Folder.look(place).interrupted


def test_clearing_touches_only_what_lies_in_the_folder(tmp_path: Path) -> None:
    outside, place = tmp_path / "outside", tmp_path / "place"
    outside.mkdir()
    (outside / "precious").touch()
    (place / "pg_tblspc").mkdir(parents=True)
    (place / "pg_tblspc/16385").symlink_to(outside)
    (place / "link").symlink_to(outside)
    (place / MARK).touch()
    with filling((place,), (place,)):
        assert [entry.name for entry in place.iterdir()] == [MARK]
    assert list(place.iterdir()) == []
    assert (outside / "precious").exists()


def test_two_restores_do_not_share_a_folder(tmp_path: Path) -> None:
    place = tmp_path / "place"
    with filling((place,), ()):
        (place / "PG_VERSION").touch()
        for leftovers in ((), (place,)):  # as it was before the first began, and as it is now
            with pytest.raises(RefusedError, match="Another restore is at work in"), filling((place,), leftovers):
                pytest.fail("It is not ours.")
        assert (place / "PG_VERSION").exists()
    with pytest.raises(RefusedError, match=r"Another restore is at work in .*, or has just ended"):
        filling((place,), (place,)).__enter__()
    with pytest.raises(RefusedError, match="is not empty any more"):
        filling((place,), ()).__enter__()
    assert [entry.name for entry in place.iterdir()] == ["PG_VERSION"]
