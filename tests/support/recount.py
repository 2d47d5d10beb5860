"""The statistics of the query log, counted anew from its raw rows in plain Python."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from math import floor
from typing import Any

from ops_workflows.analytics import histogram
from ops_workflows.analytics.horizon import safe_horizon
from ops_workflows.analytics.period import Grain
from ops_workflows.postgres.connection import connect

FLUSH = b"select pg_stat_force_next_flush()"
"""Has a session report at once what it has written, as otherwise it does within seconds."""

_RAW = b"""
    select created_at, query_type, calculation_system::text, cache_hit, latitude, longitude, response_time_ms,
        hashtextextended(user_id::text, 0)
    from query_log where created_at >= '1970-01-01Z' and created_at < %s"""
_STORED = """
    select period, query_type, calculation_system, cache_hit, region, user_kind, queries, errors, timed, sum_ms, min_ms,
        max_ms, latency_bins, latency_counts, users
    from ops.query_stats_{} order by 1, 2, 3, 4, 5, 6"""


@dataclass
class _Group:
    queries: int = 0
    times: list[int] = field(default_factory=list)
    registers: dict[int, int] = field(default_factory=dict)

    def row(self) -> tuple[Any, ...]:
        bins = sorted(Counter(map(histogram.bin_of, self.times)).items())
        total, low, high = (call(self.times) if self.times else None for call in (sum, min, max))
        users = sorted(64 * register + rank for register, rank in self.registers.items())
        held, counts = [number for number, _ in bins], [count for _, count in bins]
        return self.queries, None, len(self.times), total, low, high, held, counts, users


def region(latitude: Decimal | None, longitude: Decimal | None) -> str:
    """The south-west corner of the 10 by 10 degrees that a place is in."""
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        return "unknown"
    south, west = min(floor(latitude / 10) * 10, 80), min(floor(longitude / 10) * 10, 170)
    return f"{'S' if south < 0 else 'N'}{abs(south):02d}{'W' if west < 0 else 'E'}{abs(west):03d}"


def recount(dsn: str, grain: Grain) -> list[tuple[Any, ...]]:
    """What the statistics of all periods that are settled have to be."""
    groups: dict[tuple[Any, ...], _Group] = defaultdict(_Group)
    with connect(dsn) as connection:
        until = grain.floor(safe_horizon(connection))
        for at, kind, system, hit, latitude, longitude, milliseconds, user in connection.execute(_RAW, [until]):
            known = "anonymous" if user is None else "known"
            group = groups[grain.floor(at), kind, system or "none", hit, region(latitude, longitude), known]
            group.queries += 1
            if milliseconds is not None:
                group.times.append(milliseconds)
            if user is not None:
                register, rest = user & 4095, (user >> 12) & (2**52 - 1)
                group.registers[register] = max(group.registers.get(register, 0), 53 - rest.bit_length())
    return sorted((*key, *group.row()) for key, group in groups.items())


def stored(dsn: str, grain: Grain) -> list[tuple[Any, ...]]:
    """What they are."""
    with connect(dsn) as connection:
        return sorted(
            connection.execute(_STORED.format("hourly" if grain is Grain.HOUR else "daily").encode()).fetchall()
        )
