"""Which indexes nobody uses, and which do nothing that another does not do as well."""

from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from ops_workflows.tables.findings import Finding, Kind, Outcome, amount, unknown, warning
from ops_workflows.tables.readings import Index, Readings
from ops_workflows.tables.thresholds import Thresholds


def unused(readings: Readings, thresholds: Thresholds) -> Outcome:
    """Indexes of size that no query has used for long, and that nothing rests on.

    Those of partitions count for the one of the whole table that they belong to. What supports a foreign key is passed
    over: it is used only when a row that is referred to goes, and then it had better be there.
    """
    circumstances, trees = readings.circumstances, _trees(readings)
    found, early = list[Finding](), list[Index]()
    for tree in _idle(trees, thresholds):
        top, counted = _top(tree), circumstances.counted_since
        since = counted if counted is None or top.made_at is None else max(counted, top.made_at)
        if since is None or circumstances.now - since < thresholds.unused:
            early += tree
        else:
            found.append(_lies_idle(tree, since, thresholds))
    if early:
        found.append(_too_early(early, circumstances.counted_since, thresholds))
    return Outcome.of(Kind.NO_UNUSED_INDEX, len(trees), found)


def duplicate(readings: Readings, thresholds: Thresholds) -> Outcome:
    """Indexes that another of the same table makes superfluous: the same columns, or more behind them.

    One that itself lies idle, so that its removal may be advised, takes over from none that is used.
    """
    trees = _trees(readings)
    scans = {root: sum(each.scans for each in tree) for root, tree in trees.items()}
    sizes = {root: sum(each.bytes or 0 for each in tree) for root, tree in trees.items()}
    idle = {tree[0].root for tree in _idle(trees, thresholds)}
    tables: dict[int, list[Index]] = {}
    for index in readings.indexes:
        tables.setdefault(index.table_oid, []).append(index)
    found = [
        _does_nothing_of_its_own(index, other, sizes[index.root])
        for indexes in tables.values()
        for index, other in _superfluous(sorted(indexes, key=lambda each: _precedence(each, scans)), idle)
    ]
    return Outcome.of(Kind.NO_DUPLICATE_INDEX, sum(not each.is_attached for each in readings.indexes), found)


def replaces(other: Index, index: Index) -> bool:
    """Whether all that an index does, another of the same table does as well.

    Args:
        other: That would stay.
        index: That would go.
    """
    if not other.is_valid or other.method != index.method or other.predicate != index.predicate:
        return False
    equal = list(other.keys) == list(index.keys)
    # Only in a btree do the first columns lead to a row without the others.
    leads = index.method == "btree" and list(other.keys[: len(index.keys)]) == list(index.keys)
    if not (equal or leads) or not set(index.included) <= {*other.included, *other.key_columns}:
        return False
    return not index.is_unique or (
        equal
        and other.is_unique
        and other.nulls_distinct == index.nulls_distinct
        and other.is_immediate == index.is_immediate
    )


def _trees(readings: Readings) -> dict[int, list[Index]]:
    """By its root, each index with those of partitions that belong to it."""
    trees: dict[int, list[Index]] = {}
    for index in readings.indexes:
        trees.setdefault(index.root, []).append(index)
    return trees


def _top(tree: Sequence[Index]) -> Index:
    return next((each for each in tree if each.oid == each.root), tree[0])


def _idle(trees: Mapping[int, Sequence[Index]], thresholds: Thresholds) -> list[Sequence[Index]]:
    """Those of size that no query has used since counters began, however long that is."""
    return [
        tree
        for tree in trees.values()
        if sum(each.bytes or 0 for each in tree) >= thresholds.least_index_bytes
        and not any(each.scans for each in tree)
        and not _is_needed(_top(tree))
    ]


def _superfluous(ranked: Sequence[Index], idle: Container[int]) -> Iterator[tuple[Index, Index]]:
    """Of the indexes of a table, the one that is to stay first: each that may go, with another that makes it so."""
    for place, index in reversed(list(enumerate(ranked))):
        if index.is_attached or _is_bound(index) or not index.is_valid:
            continue
        for rank, other in enumerate(ranked):
            may_stay = other.root not in idle or index.root in idle
            if rank != place and may_stay and replaces(other, index) and (rank < place or not replaces(index, other)):
                yield index, other
                break


def _precedence(index: Index, scans: Mapping[int, int]) -> tuple[bool, bool, int, int]:
    """Of those that replace each other, the one that more rests on stays, then the one that is used more."""
    return (not _is_bound(index), index.unique_constraint is None, -scans[index.root], index.oid)


def _does_nothing_of_its_own(index: Index, other: Index, size: int) -> Finding:
    return warning(
        index.name,
        f"Index {index.name} on {index.table_name}, of {amount(size)}, does nothing that {other.name} does "
        "not do as well.",
        f"ALTER TABLE {index.table_name} DROP CONSTRAINT {index.unique_constraint}"
        if index.unique_constraint
        else _drop(index),
        size=size,
    )


def _is_bound(index: Index) -> bool:
    """Whether something rests on it that another index cannot be given to carry."""
    return index.is_primary or index.is_exclusion or index.is_referenced or index.is_identity


def _is_needed(index: Index) -> bool:
    return index.is_unique or _is_bound(index) or index.serves_foreign_key or not index.is_valid


def _lies_idle(tree: Sequence[Index], since: datetime, thresholds: Thresholds) -> Finding:
    """Only of an index whose age is known: counters that are old say nothing of one that was made this morning."""
    top, size = _top(tree), sum(each.bytes or 0 for each in tree)
    said = (
        f"No query has used index {top.name} on {top.table_name}, of {amount(size)}, since {since:%Y-%m-%d %H:%M} UTC"
    )
    do = f"see whether a standby uses it, which counts for itself; then {_drop(top)}"
    if top.made_at is not None:
        return warning(top.name, f"{said}.", do, size=size)
    days = f"{thresholds.unused / timedelta(days=1):g} days"
    return unknown(
        top.name,
        f"{said}, or since it was made if that was later, which the server does not know.",
        f"find out first how old it is: from your migrations, or turn track_commit_timestamp on and look again after "
        f"{days}; if it is older than {days}, {do}",
        size=size,
    )


def _too_early(early: Sequence[Index], since: datetime | None, thresholds: Thresholds) -> Finding:
    size, days = sum(each.bytes or 0 for each in early), f"{thresholds.unused / timedelta(days=1):g}"
    begun = f"counters began only at {since:%Y-%m-%d %H:%M} UTC" if since else "nobody knows when counters began"
    return unknown(
        ", ".join(sorted({each.name for each in early if each.oid == each.root})[:5]),
        f"Whether indexes of {amount(size)} that no query has used yet are needed cannot be told: they are younger "
        f"than {days} days, or {begun}.",
        f"look again when counters are {days} days old",
        weight=size,
    )


def _drop(index: Index) -> str:
    """That of a partitioned table goes with those of its partitions, and only while everybody waits."""
    return f"DROP INDEX {'' if index.is_partitioned else 'CONCURRENTLY '}{index.name}"
