"""Whether vacuums come, get through, and are let do their work."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from ops_workflows.tables.findings import Finding, Kind, Outcome, unknown, warning
from ops_workflows.tables.readings import Circumstances, Holder, Readings, Table, Vacuum
from ops_workflows.tables.thresholds import Thresholds
from ops_workflows.wording import counted

_NOT_COUNTED = unknown(
    "track_counts",
    "How many rows are dead is not known: track_counts is off, and then autovacuum does nothing either.",
    "turn track_counts on",
)
_HIDDEN = unknown(
    "pg_stat_activity",
    "For how long others' transactions and vacuums have been running is hidden from this role.",
    "GRANT pg_read_all_stats TO the role of OPS_UPKEEP_DSN, as deploy/postgres/roles.sql does",
)


def dead_rows_due(table: Table, circumstances: Circumstances) -> float:
    """How many rows of a table have to be dead for autovacuum to come: more than so many.

    The table's own options win over the server's. Vacuums for the sake of inserts are left out: what such a table lacks
    without them, its age says.
    """

    def chosen[N: (int, float)](own: N | None, servers: N) -> N:
        return servers if own is None else own

    least = chosen(table.vacuum_threshold, circumstances.vacuum_threshold)
    scale = chosen(table.vacuum_scale_factor, circumstances.vacuum_scale_factor)
    due = least + scale * max(table.reltuples, 0)
    most = -1
    if circumstances.vacuum_max_threshold is not None:
        most = chosen(table.vacuum_max_threshold, circumstances.vacuum_max_threshold)
    return min(due, most) if most >= 0 else due


def dead_rows(readings: Readings, thresholds: Thresholds) -> Outcome:
    """Tables with many more dead rows than autovacuum waits for."""
    circumstances = readings.circumstances
    found: list[Finding] = [] if circumstances.counts else [_NOT_COUNTED]
    for table in readings.tables:
        due = dead_rows_due(table, circumstances)
        if table.dead_rows >= max(thresholds.least_dead_rows, thresholds.dead_factor * due):
            found.append(
                warning(
                    table.label,
                    f"{table.label} has {table.dead_rows:,} dead rows beside {table.live_rows:,} living ones; "
                    f"autovacuum comes at {due:,.0f}. {_last(table)}",
                    f"see what {Kind.AUTOVACUUM_GETS_THROUGH} says; VACUUM {table.name}",
                    weight=table.dead_rows,
                )
            )
    return Outcome.of(Kind.FEW_DEAD_ROWS, len(readings.tables), found)


def autovacuum(readings: Readings, thresholds: Thresholds) -> Outcome:
    """Vacuums that do not come, do not end, or may not clean up."""
    circumstances = readings.circumstances
    found = [
        *_switched_off(readings),
        *_overdue(readings, thresholds),
        *_too_old(readings.tables, thresholds),
        *_held_back(readings, thresholds),
        *_endless(readings, thresholds),
    ]
    if not circumstances.sees_all:
        found.append(_HIDDEN)
    return Outcome.of(Kind.AUTOVACUUM_GETS_THROUGH, len(readings.tables), found)


def _switched_off(readings: Readings) -> Iterator[Finding]:
    circumstances = readings.circumstances
    if not (circumstances.autovacuum and circumstances.counts):
        name = "track_counts" if circumstances.autovacuum else "autovacuum"
        yield warning(
            name,
            f"{name} is off, so no table is vacuumed or analyzed unless somebody does so.",
            f"turn {name} on, and reload the server's configuration",
            weight=float("inf"),
        )
    for table in readings.tables:
        if not (table.autovacuum or table.is_toast):
            yield warning(
                table.label,
                f"Autovacuum is switched off for {table.label} by its option autovacuum_enabled; it has "
                f"{table.dead_rows:,} dead rows beside {table.live_rows:,} living ones. {_last(table)}",
                f"ALTER TABLE {table.name} RESET (autovacuum_enabled)",
                weight=table.dead_rows,
            )


def _overdue(readings: Readings, thresholds: Thresholds) -> Iterator[Finding]:
    """Due, and not done for long. Since when it is due nobody knows, so one that became so just now is among them."""
    circumstances, at_work = readings.circumstances, {each.table_oid for each in readings.vacuums}
    for table in readings.tables:
        due = dead_rows_due(table, circumstances)
        if table.dead_rows <= due or not table.autovacuum or table.oid in at_work:
            continue
        since = table.vacuumed_at or circumstances.counted_since
        if since is not None and circumstances.now - since < thresholds.vacuum_lag:
            if table.vacuumed_at is None:
                yield unknown(
                    table.label,
                    f"Whether autovacuum comes to {table.label} cannot be told: {table.dead_rows:,} rows are dead, it "
                    f"comes at {due:,.0f}, and counters began only at {_when(since)}.",
                    "look again tomorrow",
                    weight=table.dead_rows,
                )
            continue
        yield warning(
            table.label,
            f"{table.label} is due for a vacuum, with {table.dead_rows:,} dead rows of {due:,.0f}. {_last(table)}",
            _remedy(table, circumstances),
            weight=table.dead_rows,
        )


def _remedy(table: Table, circumstances: Circumstances) -> str:
    if circumstances.workers >= circumstances.most_workers:
        return (
            f"all {circumstances.workers} workers are busy: raise autovacuum_max_workers and "
            f"autovacuum_vacuum_cost_limit; VACUUM {table.name}"
        )
    return (
        "if that stays, it is cancelled or fails each time: look in the server's log for “canceling autovacuum task” "
        f"and for errors with its name; VACUUM {table.name}"
    )


def _too_old(tables: Sequence[Table], thresholds: Thresholds) -> Iterator[Finding]:
    for table in tables:
        if table.age >= thresholds.most_age:
            yield warning(
                table.label,
                f"The oldest transaction in {table.label} is {table.age:.2f} times as old as autovacuum lets it become "
                f"before it freezes all rows, so that does not get through. {_last(table)}",
                f"VACUUM (FREEZE, VERBOSE) {table.name}, and see what stops it",
                weight=table.age * 1e9,  # before all that is counted in rows: at the end of it the server stops
            )


def _held_back(readings: Readings, thresholds: Thresholds) -> Iterator[Finding]:
    circumstances = readings.circumstances
    waiting = [each for each in readings.tables if each.dead_rows > dead_rows_due(each, circumstances)]
    for holder in readings.holders:
        held = None if holder.since is None else circumstances.now - holder.since
        if not (held is not None and held >= thresholds.hold) and holder.transactions < thresholds.hold_transactions:
            continue
        since = f" since {_when(holder.since)}" if holder.since else ""
        what = "of the system's tables that died" if holder.catalogue_only else "that died"
        dead = "" if holder.catalogue_only or not waiting else f"; {_sum(waiting)}"
        yield warning(
            f"{holder.kind} {holder.name}",
            f"The {holder.kind} {holder.name} keeps vacuums{since} from removing rows {what} in the newest "
            f"{counted(holder.transactions, 'transaction')}{dead}.",
            _end(holder),
            weight=holder.transactions,
        )


def _sum(waiting: Sequence[Table]) -> str:
    dead = sum(each.dead_rows for each in waiting)
    return f"{dead:,} dead rows of {counted(len(waiting), 'table')} are due"


def _end(holder: Holder) -> str:
    match holder.kind:
        case "session":
            return f"let it commit, or SELECT pg_terminate_backend({holder.name.split()[0]})"
        case "slot":
            return f"start its consumer; if it has none any more, SELECT pg_drop_replication_slot('{holder.name}')"
        case "standby":
            return "end its long queries, or turn hot_standby_feedback off there"
    return "COMMIT PREPARED or ROLLBACK PREPARED it"


def _endless(readings: Readings, thresholds: Thresholds) -> Iterator[Finding]:
    circumstances, names = readings.circumstances, {each.oid: each.label for each in readings.tables}
    for vacuum in readings.vacuums:
        if vacuum.since is None or circumstances.now - vacuum.since < thresholds.longest_vacuum:
            continue
        name = names.get(vacuum.table_oid or 0, f"the table with oid {vacuum.table_oid}")
        yield warning(
            name,
            f"Process {vacuum.pid} vacuums {name} since {_when(vacuum.since)} ({_progress(vacuum)}).",
            "lower autovacuum_vacuum_cost_delay, raise maintenance_work_mem, or see what it waits for in "
            "pg_stat_activity",
            weight=(circumstances.now - vacuum.since) / timedelta(seconds=1),
        )


def _progress(vacuum: Vacuum) -> str:
    done = f", {vacuum.scanned or 0:,} of {vacuum.blocks:,} blocks read" if vacuum.blocks else ""
    return f"{vacuum.phase}{done}"


def _last(table: Table) -> str:
    return f"It was vacuumed last at {_when(table.vacuumed_at)}." if table.vacuumed_at else "No vacuum of it is known."


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
