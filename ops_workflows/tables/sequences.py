"""How near sequences are to the last number that they, or the columns that they fill, can hold."""

from datetime import timedelta

from ops_workflows.tables.findings import Finding, Kind, Outcome, unknown, warning
from ops_workflows.tables.readings import Circumstances, Number, Readings
from ops_workflows.tables.thresholds import Thresholds

_LEAST_COUNTED = timedelta(days=30)  # for a pace that says something about months
_MONTH = timedelta(days=30)


def sequences(readings: Readings, thresholds: Thresholds) -> Outcome:
    """Sequences that have used up most of their numbers."""
    found = list[Finding]()
    hidden = [each.name for each in readings.sequences if not each.is_visible]
    for each in readings.sequences:
        share = used(each)
        if share is not None and share >= thresholds.most_of_sequence:
            found.append(_warning(each, share, readings.circumstances))
    if hidden:
        found.append(
            unknown(
                ", ".join(hidden[:5]),
                f"How far {len(hidden):,} sequences are is hidden from this role, {hidden[0]} among them.",
                "GRANT SELECT ON ALL SEQUENCES IN SCHEMA … TO the role of OPS_UPKEEP_DSN, as deploy/postgres/roles.sql "
                "does for public and ops",
                weight=len(hidden),
            )
        )
    return Outcome.of(Kind.SEQUENCES_HAVE_ROOM, len(readings.sequences), found)


def used(number: Number) -> float | None:
    """The fraction of its numbers that are used; None where they have no end, or nobody may see.

    The end is the sequence's own or, if that comes first, the largest (downwards, the smallest) that the column holds.
    One that begins again at its end has no other than the column's.
    """
    if not number.is_visible:
        return None
    end, is_columns = _end(number)
    if number.cycles and not is_columns:
        return None
    if number.last is None:
        return 0.0
    begin = number.minimum if number.increment > 0 else number.maximum
    return (number.last - begin) / (end - begin) if end != begin else 1.0


def left_for(number: Number, circumstances: Circumstances) -> timedelta | None:
    """How long its numbers last at the pace at which rows were inserted so far; None where no pace can be told.

    Numbers that were taken in vain (rolled back, in conflict) are no rows, so it may be less.
    """
    since = circumstances.counted_since
    if since is None or circumstances.now - since < _LEAST_COUNTED or not number.inserted or number.last is None:
        return None
    rows = abs(_end(number)[0] - number.last) // abs(number.increment)
    days = rows / number.inserted * ((circumstances.now - since) / timedelta(days=1))
    return timedelta(days=days) if days < timedelta.max.days else None


def _end(number: Number) -> tuple[int, bool]:
    """The last number, and whether it is the column that sets it."""
    if number.increment > 0:
        own, columns = number.maximum, number.column_most
        return (columns, True) if columns is not None and columns < own else (own, False)
    # Types reach one further below zero than above.
    own, columns = number.minimum, None if number.column_most is None else -number.column_most - 1
    return (columns, True) if columns is not None and columns > own else (own, False)


def _warning(number: Number, share: float, circumstances: Circumstances) -> Finding:
    (end, is_columns), left = _end(number), left_for(number, circumstances)
    column = f" of {number.column_name} ({number.column_type})" if number.column_name else ""
    pace = ""
    if left is not None and circumstances.counted_since is not None:
        pace = (
            f"; at the pace of rows inserted since {circumstances.counted_since:%Y-%m-%d}, they last "
            f"{left / _MONTH:,.1f} months at most"
        )
    if is_columns or number.column_type in {"smallint", "integer"}:
        both = "" if is_columns else " and the sequence"
        do = f"make {number.column_name}{both} a bigint, as docs/wider-key.md does"
    else:
        do = f"ALTER SEQUENCE {number.name} AS bigint NO MAXVALUE NO MINVALUE, or begin anew if the old are gone"
    return warning(
        number.name,
        f"Sequence {number.name}{column} has used {share:.1%} of its numbers: it is at {number.last:,} of {end:,}"
        f"{pace}.",
        do,
        weight=share,
    )
