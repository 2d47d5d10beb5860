"""Which indexes nobody uses, and which do nothing that another does not do as well."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from ops_workflows.tables.findings import Finding, Kind, Outcome, amount, unknown, warning
from ops_workflows.tables.readings import Index, Readings
from ops_workflows.tables.thresholds import Thresholds


def unused(readings: Readings, thresholds: Thresholds) -> Outcome:
    """Indexes of size that no query has used for long, and that nothing rests on.

    Those of partitions count for the one of the whole table that they belong to. What supports a foreign key is passed
    over: it is used only when a row that is referred to goes, and then it had better be there.
    """
    circumstances = readings.circumstances
    trees: dict[int, list[Index]] = {}
    for index in readings.indexes:
        trees.setdefault(index.root, []).append(index)
    found, early = list[Finding](), list[Index]()
    for tree in trees.values():
        top = next((each for each in tree if each.oid == each.root), tree[0])
        size = sum(each.bytes or 0 for each in tree)
        if size < thresholds.least_index_bytes or any(each.scans for each in tree) or _is_needed(top):
            continue
        since = _since(circumstances.counted_since, top.made_at)
        if since is None or circumstances.now - since < thresholds.unused:
            early += tree
            continue
        found.append(
            warning(
                top.name,
                f"No query has used index {top.name} on {top.table_name}, of {amount(size)}, since "
                f"{since:%Y-%m-%d %H:%M} UTC.",
                "see whether a standby uses it, which counts for itself, and how old it is; then "
                f"DROP INDEX {_concurrently(top)}{top.name}",
                size=size,
            )
        )
    if early:
        found.append(_too_early(early, circumstances.counted_since, thresholds))
    return Outcome.of(Kind.NO_UNUSED_INDEX, len(trees), found)


def duplicate(readings: Readings) -> Outcome:
    """Indexes that another of the same table makes superfluous: the same columns, or more behind them."""
    sizes: dict[int, int] = {}
    tables: dict[int, list[Index]] = {}
    for index in readings.indexes:
        sizes[index.root] = sizes.get(index.root, 0) + (index.bytes or 0)
        tables.setdefault(index.table_oid, []).append(index)
    found = [finding for indexes in tables.values() for finding in _superfluous(indexes, sizes)]
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


def _superfluous(indexes: Sequence[Index], sizes: dict[int, int]) -> Iterator[Finding]:
    """Of those that replace each other, the one that more rests on stays, then the one that is used more."""
    kept = sorted(
        indexes, key=lambda each: (not _is_bound(each), each.unique_constraint is None, -each.scans, each.oid)
    )
    for place, index in reversed(list(enumerate(kept))):
        if index.is_attached or _is_bound(index) or not index.is_valid:
            continue
        other = next(
            (
                each
                for rank, each in enumerate(kept)
                if rank != place and replaces(each, index) and (rank < place or not replaces(index, each))
            ),
            None,
        )
        if other is None:
            continue
        size = sizes[index.root]
        yield warning(
            index.name,
            f"Index {index.name} on {index.table_name}, of {amount(size)}, does nothing that {other.name} does "
            "not do as well.",
            f"ALTER TABLE {index.table_name} DROP CONSTRAINT {index.unique_constraint}"
            if index.unique_constraint
            else f"DROP INDEX {_concurrently(index)}{index.name}",
            size=size,
        )


def _precedence(index: Index) -> tuple[bool, bool, int, int]:
    return (not _is_bound(index), index.unique_constraint is None, -index.scans, index.oid)


def _is_bound(index: Index) -> bool:
    """Whether something rests on it that another index cannot be given to carry."""
    return index.is_primary or index.is_exclusion or index.is_referenced or index.is_identity


def _is_needed(index: Index) -> bool:
    return index.is_unique or _is_bound(index) or index.serves_foreign_key or not index.is_valid


def _since(counted: datetime | None, made: datetime | None) -> datetime | None:
    return counted if counted is None or made is None else max(counted, made)


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


def _concurrently(index: Index) -> str:
    """That of a partitioned table goes with those of its partitions, and only while everybody waits."""
    return "" if index.is_partitioned else "CONCURRENTLY "
