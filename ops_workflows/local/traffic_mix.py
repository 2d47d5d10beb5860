"""What generated traffic asks and writes: statements of `traffic.sql` with values that fit the database at hand."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from uuid import UUID

from ops_workflows.errors import RefusedError
from ops_workflows.postgres.connection import Connection

_HERE = Path(__file__).parent
_HEADED = re.compile(
    r"^-- (?P<name>\w+): (?P<kind>read|write) (?P<share>\d+)\n(?P<text>.*?);$", re.MULTILINE | re.DOTALL
)
_QUERY_TYPES = ("daily_panchangam", "tithi", "sunrise_sunset", "festival_calendar", "nakshatra", "muhurta")
_PATTERNS = ("%pur%", "ban%", "%new%", "%ch%", "va%")


@dataclass(frozen=True)
class Statement:
    """One statement of the mix."""

    name: str
    writes: bool
    share: int
    text: str


@dataclass(frozen=True)
class Sample:
    """Some rows of the database that statements can be about."""

    users: Sequence[UUID]
    cache_keys: Sequence[str]
    locations: Sequence[UUID]


def statements() -> list[Statement]:
    """The mix."""
    found = _HEADED.finditer((_HERE / "traffic.sql").read_text())
    return [Statement(part["name"], part["kind"] == "write", int(part["share"]), part["text"]) for part in found]


def sample(connection: Connection) -> Sample:
    """Look at what is there. A database that was migrated and not seeded has locations at least.

    Raises:
        RefusedError: The schema is not there.
    """
    there = connection.execute("select to_regclass('query_log'), to_regclass('ops.heartbeat')").fetchone()
    if there is None or None in there:
        raise RefusedError("The tables that traffic goes to are not there: run `ops migrate up` first.")
    users, cache_keys, locations = (
        connection.execute((_HERE / "traffic_sample.sql").read_bytes()).fetchone() or ([],) * 3
    )
    return Sample(users, cache_keys, locations)


def mixed(random: Random, found: Sample) -> Iterator[tuple[Statement, dict[str, object]]]:
    """Statements without end, each by its share, with its values."""
    mix = statements()
    shares = [statement.share for statement in mix]
    while True:
        for statement in random.choices(mix, shares, k=100):
            yield statement, _values(random, found)


def _values(random: Random, found: Sample) -> dict[str, object]:
    hit = random.random() < 0.8  # noqa: PLR2004
    return {
        "user_id": random.choice(found.users) if found.users else None,
        "cache_key": random.choice(found.cache_keys) if found.cache_keys else "none",
        "location_id": random.choice(found.locations) if found.locations else None,
        "pattern": random.choice(_PATTERNS),
        "query_type": random.choice(_QUERY_TYPES),
        "hit": hit,
        "milliseconds": round(random.lognormvariate(1.4 if hit else 4.4, 0.5)),
        "days": random.randrange(30),
    }
