"""Old versions in a versioned bucket: whatever goes, what each key stands for stays the same at every moment."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from ops_workflows.storage.versions import StoredVersion, expired

NOW = datetime(2026, 3, 31, tzinfo=UTC)


def a_version(key: str, days_ago: float, *, latest: bool = False, marker: bool = False) -> StoredVersion:
    return StoredVersion(key, f"{key}-{days_ago}", NOW - timedelta(days=days_ago), latest, marker)


def test_what_counts_is_when_it_ceased_to_be_the_latest() -> None:
    deleted_yesterday = [a_version("k", 1, latest=True, marker=True), a_version("k", 400)]
    assert list(expired(deleted_yesterday, NOW - timedelta(days=7))) == []


def test_a_marker_goes_after_what_it_hides() -> None:
    marker, hidden = a_version("k", 8, latest=True, marker=True), a_version("k", 400)
    (found,) = expired([marker, hidden], NOW - timedelta(days=7))
    assert found.old == (hidden,)
    assert found.marker == marker


def test_of_a_living_object_only_what_was_replaced_long_ago_goes() -> None:
    versions = [a_version("k", 2, latest=True), a_version("k", 9), a_version("k", 30)]
    (found,) = expired(versions, NOW - timedelta(days=7))
    assert found.old == (versions[2],)
    assert found.marker is None


@st.composite
def histories(draw: st.DrawFn) -> list[StoredVersion]:
    found = []
    for key in sorted(draw(st.sets(st.sampled_from("abcdef")))):
        ages = sorted(draw(st.lists(st.integers(0, 20), min_size=1, max_size=6)))
        markers = draw(st.lists(st.booleans(), min_size=len(ages), max_size=len(ages)))
        found += [
            StoredVersion(key, f"{key}{n}", NOW - timedelta(days=age), n == 0, marker)
            for n, (age, marker) in enumerate(zip(ages, markers, strict=True))
        ]
    return found


def stands_for(versions: list[StoredVersion]) -> dict[str, str]:
    """What a reader gets for each key: the newest version, unless that is a marker."""
    newest: dict[str, StoredVersion] = {}
    for version in versions:
        newest.setdefault(version.key, version)
    return {key: version.version_id for key, version in newest.items() if not version.is_marker}


@settings(max_examples=300, deadline=None)
@given(histories(), st.integers(0, 15), st.randoms())
def test_what_a_reader_gets_never_changes(versions: list[StoredVersion], days: int, chance: object) -> None:
    before = NOW - timedelta(days=days)
    found = list(expired(versions, before))
    old = [version for each in found for version in each.old]
    chance.shuffle(old)  # type: ignore[attr-defined]
    left, visible = list(versions), stands_for(versions)
    for version in [*old, *(each.marker for each in found if each.marker)]:
        left.remove(version)
        assert stands_for(left) == visible
    assert all(version.is_marker or version.is_latest or version not in old for version in left)
    # What was replaced or deleted in the last days is still there.
    for newer, older in pairwise(versions):
        if newer.key == older.key and newer.modified >= before:
            assert older in left
