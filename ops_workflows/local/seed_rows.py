"""The rows of a generated workload, as lines of COPY's text format; equal seed, size and base give equal lines."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from random import Random

from ops_workflows.local.seed_almanac import calculations
from ops_workflows.local.seed_calendar import hourly
from ops_workflows.local.seed_people import account, api_key, audit_entry, preference
from ops_workflows.local.seed_places import Place, places, zipf

COLUMNS = {
    "users": "id, username, email, created_at, updated_at, last_login, is_active, preferences",
    "user_preferences": "id, user_id, timezone, latitude, longitude, location_name, calculation_system, "
    "regional_variation, language, created_at, updated_at",
    "api_keys": "id, user_id, key_hash, name, scopes, is_active, last_used_at, created_at, rate_limit",
    "panchangam_cache": "id, cache_key, date, latitude, longitude, timezone, calculation_system, regional_variation, "
    "data, created_at, expires_at",
    "audit_log": "id, user_id, action, entity_type, entity_id, old_values, new_values, ip_address, user_agent, "
    "created_at",
    "query_log": "created_at, id, user_id, query_type, date, latitude, longitude, timezone, calculation_system, "
    "cache_hit, response_time_ms",
}
"""Tables in the order in which foreign keys let them be filled, and the columns of their lines."""

_QUERY_TYPES = {
    "daily_panchangam": 56,
    "tithi": 12,
    "sunrise_sunset": 10,
    "festival_calendar": 8,
    "nakshatra": 6,
    "muhurta": 5,
    "monthly_panchangam": 3,
}
_DAYS_ASKED_FOR = {0: 70, 1: 12, 2: 4, 3: 2, 7: 3, -1: 3, 14: 1, 30: 2, -30: 1, 365: 1, -365: 1}
_ANONYMOUS = 0.35
_POOL = 4096
_HOUR = 3600 - 1e-6  # so that no rounding reaches the next one
_MINUTES_SECONDS = [f"{second // 60:02d}:{second % 60:02d}" for second in range(3600)]


@dataclass(frozen=True)
class Workload:
    """A generated workload of `rows` queries in the sixty days before `base`, with what goes around them."""

    seed: int
    rows: int
    base: datetime

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each table."""
        users = max(50, self.rows // 50)
        return {
            "users": users,
            "user_preferences": users * 4 // 5,
            "api_keys": users // 20,
            "panchangam_cache": self.rows // 10,
            "audit_log": self.rows // 50,
            "query_log": self.rows,
        }

    @cached_property
    def user_ids(self) -> list[str]:
        """Ids of the users, the most active first."""
        return _uuids(self._random("user ids"), self.counts["users"])

    @cached_property
    def places(self) -> list[Place]:
        """Places asked about, the most popular first."""
        return places(self._random("places"))

    def lines(self, table: str) -> Iterator[str]:
        """The rows of one table of `COLUMNS`, each a line of COPY's text format."""
        random, count = self._random(table), self.counts[table]
        if table == "query_log":
            return self._queries(random)
        if table == "panchangam_cache":
            return calculations(random, _uuids(random, count), self.places, self.base)
        ids, people = _uuids(random, count), self.user_ids[:count]
        if table == "users":
            return (account(random, user, self.base) for user in self.user_ids)
        if table == "user_preferences":
            return (
                preference(random, key, user, self.places, self.base) for key, user in zip(ids, people, strict=True)
            )
        if table == "api_keys":
            return (api_key(random, key, user, self.base) for key, user in zip(ids, people, strict=True))
        return (audit_entry(random, key, self.user_ids, self.base) for key in ids)

    def _random(self, purpose: str) -> Random:
        # One stream for each purpose: a change to one table leaves the rows of the others as they are.
        return Random(f"{self.seed}/{purpose}")  # noqa: S311 - reproducible on purpose

    def _queries(self, random: Random) -> Iterator[str]:
        """The query log in the order of time. Values are drawn an hour at a time: that is what makes it fast."""
        choices, uniform = random.choices, random.random
        spots = [f"{p.latitude}\t{p.longitude}\t{p.timezone}\t{p.system}" for p in self.places]
        spot_weights = zipf(len(spots))
        rates = [place.hit_rate for place in self.places]
        users, user_weights = self.user_ids, zipf(len(self.user_ids), 0.9)
        types, type_weights = list(_QUERY_TYPES), list(_QUERY_TYPES.values())
        ahead_weights = list(_DAYS_ASKED_FOR.values())
        # Milliseconds are log-normal: a hit has its median at 4, a calculation at 85.
        hits = [f"t\t{round(random.lognormvariate(1.4, 0.5))}\n" for _ in range(_POOL)]
        misses = [f"f\t{round(random.lognormvariate(4.44, 0.6))}\n" for _ in range(_POOL)]
        for hour, count in hourly(random, self.rows, self.base):
            prefix = f"{hour:%Y-%m-%d %H}:"
            asked = [str(hour.date() + timedelta(days=ahead)) for ahead in _DAYS_ASKED_FOR]
            began, step = int(hour.timestamp() * 1000), _HOUR / count
            drawn = zip(
                _uuids(random, count),
                choices(users, cum_weights=user_weights, k=count),
                choices(types, type_weights, k=count),
                choices(asked, ahead_weights, k=count),
                choices(range(len(spots)), cum_weights=spot_weights, k=count),
                choices(hits, k=count),
                choices(misses, k=count),
                strict=True,
            )
            for number, (tail, user, kind, day, spot, hit, miss) in enumerate(drawn):
                moment = (number + uniform()) * step
                second, fraction = divmod(moment, 1)
                at = f"{prefix}{_MINUTES_SECONDS[int(second)]}.{int(fraction * 1e6):06d}+00"
                # Version 7: led by the time, so that the index grows at its end. With random ids the load takes half
                # as long again, and ever longer once the index has outgrown the server's buffers.
                key = f"{began + int(moment * 1000):012x}7{tail[13:]}"
                who = user if uniform() > _ANONYMOUS else r"\N"
                took = hit if uniform() < rates[spot] else miss
                yield f"{at}\t{key}\t{who}\t{kind}\t{day}\t{spots[spot]}\t{took}"


def _uuids(random: Random, count: int) -> list[str]:
    """Random (version 4) UUIDs in hexadecimal."""
    digits = random.randbytes(16 * count).hex()
    starts = range(0, 32 * count, 32)
    return [f"{digits[at : at + 12]}4{digits[at + 13 : at + 16]}8{digits[at + 17 : at + 32]}" for at in starts]
