"""The log in the bucket, understood from names: held against a model that counts bytes one by one."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_workflows.errors import IntegrityError
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.wal import (
    Branch,
    Range,
    WalListing,
    history_key,
    parse_history,
    segment_key,
    segment_name,
    segment_start,
    tail_key,
)
from ops_workflows.storage.objects import StoredObject

MB = 1024 * 1024
SIZES = st.sampled_from([1 * MB, 16 * MB, 64 * MB, 1024 * MB])
UNIT = 1024  # so many bytes are one step of the model
SMALL = 8 * UNIT  # a segment of the model


@given(SIZES, st.integers(1, 2**32 - 1), st.integers(0, 2**64 - 1))
def test_names_of_segments_tell_where_they_begin(size: int, timeline: int, at: int) -> None:
    name = segment_name(timeline, at, size)
    assert len(name) == 24
    assert segment_start(name, size) == at - at % size
    assert int(name[:8], 16) == timeline


@pytest.mark.parametrize(
    ("lsn", "size", "name"),
    [  # as pg_walfile_name() says
        ("0/1000028", 16 * MB, "000000010000000000000001"),
        ("0/FF000000", 16 * MB, "0000000100000000000000FF"),
        ("1/0", 16 * MB, "000000010000000100000000"),
        ("16/B374D848", 16 * MB, "0000000100000016000000B3"),
        ("0/C0000000", 1024 * MB, "000000010000000000000003"),
        ("FFFFFFFF/FFFFFFFF", 1024 * MB, "00000001FFFFFFFF00000003"),
        ("FFFFFFFF/FFFFFFFF", 1 * MB, "00000001FFFFFFFF00000FFF"),
    ],
)
def test_names_are_postgresqls_own(lsn: str, size: int, name: str) -> None:
    assert segment_name(1, Lsn.parse(lsn), size) == name


def stored(key: str) -> StoredObject:
    return StoredObject(f"p/{key}", 1, '"e"')


@given(SIZES, st.integers(1, 99), st.integers(0, 2**40), st.data())
def test_names_in_a_listing(size: int, timeline: int, at: int, data: st.DataObject) -> None:
    first = at - at % size
    start = data.draw(st.integers(first, first + size - 1))
    end = data.draw(st.integers(start + 1, first + size))
    age = data.draw(st.sampled_from(["", ".age"]))
    names = [segment_key(timeline, at, size) + age, tail_key(timeline, start, end, size) + age, history_key(timeline)]
    other = ["x", f"{names[0]}.part", "00000001/readme", "00000001.history.old"]
    listing = WalListing.of((stored(name) for name in names + other), "p/", size)
    found = {(piece.timeline, piece.start, piece.end, piece.whole) for piece in listing.pieces}
    assert found == {(timeline, first, first + size, True), (timeline, start, end, False)}
    assert listing.histories == {timeline}


@st.composite
def listings(draw: st.DrawFn) -> tuple[WalListing, dict[int, set[int]]]:
    """Some segments and tails of two timelines, and of each timeline the units that they hold."""
    keys, units = list[str](), dict[int, set[int]]()
    for timeline in (1, 2):
        for segment in draw(st.lists(st.integers(0, 5), max_size=4)):
            keys.append(segment_key(timeline, segment * SMALL, SMALL))
            units.setdefault(timeline, set()).update(range(segment * 8, segment * 8 + 8))
        for segment, one, other in draw(
            st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(0, 8)), max_size=5)
        ):
            start, end = sorted((one, other))
            if start < end:
                first = segment * 8
                # The end of a segment's last byte lies in the next one: its tail is called after where it begins.
                keys.append(tail_key(timeline, (first + start) * UNIT, (first + end) * UNIT, SMALL))
                units.setdefault(timeline, set()).update(range(first + start, first + end))
    shuffled = draw(st.permutations(keys))
    return WalListing.of(map(stored, shuffled), "p/", SMALL), units


@given(listings())
def test_ranges_hold_what_the_pieces_hold(made: tuple[WalListing, dict[int, set[int]]]) -> None:
    listing, units = made
    ranges = listing.ranges()
    for timeline in (1, 2):
        held = {
            unit
            for found in ranges
            if found.timeline == timeline
            for unit in range(found.start // UNIT, found.end // UNIT)
        }
        assert held == units.get(timeline, set())
    for before, after in pairwise(ranges):
        assert (before.timeline, before.end) < (after.timeline, after.start)  # apart: as long as they can be


@given(listings())
def test_gaps_are_what_lies_between(made: tuple[WalListing, dict[int, set[int]]]) -> None:
    listing, units = made
    missing = {
        (timeline, unit) for timeline, held in units.items() for unit in range(min(held), max(held)) if unit not in held
    }
    gaps = listing.gaps()
    assert {(gap.timeline, unit) for gap in gaps for unit in range(gap.start // UNIT, gap.end // UNIT)} == missing
    assert all(gap.start < gap.end for gap in gaps)


@given(listings(), st.integers(1, 47))
def test_gaps_on_the_way_across_a_fork(made: tuple[WalListing, dict[int, set[int]]], fork: int) -> None:
    """Of the old timeline all up to the fork is needed, of the new one all behind it, once anything is there."""
    listing, units = made
    listing = replace(listing, branches={2: [Branch(1, Lsn(fork * UNIT))]})
    first, second = units.get(1, set()), units.get(2, set())
    missing = {(1, unit) for unit in range(min(first, default=0), max(first, default=0)) if unit not in first}
    if second:
        before = {unit for unit in first if unit < fork}
        missing |= {(1, unit) for unit in range(min(before, default=fork), fork) if unit not in first}
        begins = fork if before else min(second)
        missing |= {(2, unit) for unit in range(begins, max(second)) if unit not in second}
    gaps = listing.gaps()
    assert {(gap.timeline, unit) for gap in gaps for unit in range(gap.start // UNIT, gap.end // UNIT)} == missing
    assert sum((gap.end - gap.start) // UNIT for gap in gaps) == len(missing)  # each is named once


def test_a_timeline_of_which_nothing_is_there_is_missing_as_a_whole() -> None:
    keys = [segment_key(1, 0, SMALL), segment_key(3, 3 * SMALL, SMALL)]
    history = [Branch(1, Lsn(SMALL)), Branch(2, Lsn(3 * SMALL))]
    listing = replace(WalListing.of(map(stored, keys), "p/", SMALL), branches={3: history})
    assert listing.gaps() == [Range(2, Lsn(SMALL), Lsn(3 * SMALL))]


@given(listings(), st.sampled_from([1, 2]), st.integers(0, 48), st.integers(0, 48))
def test_cover_is_whole_or_says_from_where_it_is_not(
    made: tuple[WalListing, dict[int, set[int]]], timeline: int, one: int, other: int
) -> None:
    listing, units = made
    start, end = sorted((one, other))
    missing = [unit for unit in range(start, end) if unit not in units.get(timeline, set())]
    if missing:
        with pytest.raises(IntegrityError, match=f"from {Lsn(missing[0] * UNIT)} is not in the bucket"):
            list(listing.cover(timeline, Lsn(start * UNIT), Lsn(end * UNIT)))
        return
    pieces = list(listing.cover(timeline, Lsn(start * UNIT), Lsn(end * UNIT)))
    held = {unit for piece in pieces for unit in range(piece.start // UNIT, piece.end // UNIT)}
    assert set(range(start, end)) <= held
    assert all(piece.timeline == timeline for piece in pieces)
    for before, after in pairwise(pieces):
        assert after.start <= before.end < after.end  # each brings something


@given(listings(), st.sampled_from([1, 2]), st.integers(0, 48))
def test_end_is_how_far_it_goes(made: tuple[WalListing, dict[int, set[int]]], timeline: int, start: int) -> None:
    listing, units = made
    held, at = units.get(timeline, set()), start
    while at in held:
        at += 1
    expected = at * UNIT if at > start or start - 1 in held else None
    assert listing.end(timeline, start * UNIT) == expected


def test_history_files() -> None:
    content = b"1\t0/9000000\tno recovery target specified\n\n2\t1/A0\tbefore 2026-01-31 02:00:00+00\n# a remark\n"
    assert [(branch.parent, str(branch.at)) for branch in parse_history(content)] == [(1, "0/9000000"), (2, "1/A0")]
    assert parse_history(b"") == []


def test_a_range_is_not_broken_by_what_lies_in_it() -> None:
    listing = WalListing.of([stored(segment_key(1, 0, SMALL)), stored(tail_key(1, UNIT, 2 * UNIT, SMALL))], "p/", SMALL)
    assert listing.ranges() == [Range(1, Lsn(0), Lsn(SMALL))]
