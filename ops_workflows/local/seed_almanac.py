"""Generated calculations as the application caches them, as lines of COPY's text format."""

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from random import Random

from ops_workflows.local.seed_calendar import DAYS
from ops_workflows.local.seed_places import SYSTEMS, VARIATIONS, Place

_LIFETIME = timedelta(days=30)
# fmt: off
_TITHIS = (
    "Pratipada", "Dwitiya", "Tritiya", "Chaturthi", "Panchami", "Shashthi", "Saptami", "Ashtami", "Navami",
    "Dashami", "Ekadashi", "Dwadashi", "Trayodashi", "Chaturdashi", "Purnima",
)
_NAKSHATRAS = (
    "Ashwini", "Bharani", "Krittika", "Rohini", "Mrigashira", "Ardra", "Punarvasu", "Pushya", "Ashlesha",
    "Magha", "Hasta", "Chitra", "Swati", "Vishakha", "Anuradha", "Jyeshtha", "Mula", "Shravana", "Revati",
)
_YOGAS = ("Vishkambha", "Priti", "Ayushman", "Saubhagya", "Shobhana", "Sukarma", "Dhriti", "Siddhi", "Shiva", "Indra")
_KARANAS = ("Bava", "Balava", "Kaulava", "Taitila", "Garaja", "Vanija", "Vishti")
# fmt: on
# A calculation may be for no system or variation in particular.
_VARIANTS: tuple[tuple[str | None, str | None], ...] = (
    (None, None),
    *((system, variation) for system in SYSTEMS for variation in VARIATIONS),
)


def calculations(random: Random, ids: list[str], places: list[Place], base: datetime) -> Iterator[str]:
    """Rows of `panchangam_cache`, each for another combination of day, variant and place; some have expired already."""
    days = len(ids) // (len(places) * len(_VARIANTS))
    first = base.date() - timedelta(days=min(DAYS, days // 2))
    for number, key in enumerate(ids):
        rest, at = divmod(number, len(places))
        ahead, variant = divmod(rest, len(_VARIANTS))
        place, (system, variation) = places[at], _VARIANTS[variant]
        day = first + timedelta(days=ahead)
        created = base - timedelta(seconds=random.randrange(DAYS * 86400))
        name = f"panchangam:{day}:{variation}:{system}:{place.latitude}:{place.longitude}"
        yield (
            f"{key}\t{name}\t{day}\t{place.latitude}\t{place.longitude}\t{place.timezone}\t{system or r'\N'}"
            f"\t{variation or r'\N'}\t{_almanac(random, day)}\t{created}\t{created + _LIFETIME}\n"
        )


def _almanac(random: Random, day: date) -> str:
    """One day's calculation."""

    def time(first_hour: int, hours: int) -> str:
        minute = random.randrange(hours * 60)
        return f"{first_hour + minute // 60:02d}:{minute % 60:02d}:{random.randrange(60):02d}"

    def degrees() -> float:
        return round(random.uniform(0, 360), 6)

    half = random.choice(("Shukla", "Krishna"))
    return json.dumps(
        {
            "date": str(day),
            "vara": f"{day:%A}",
            "tithi": {"name": random.choice(_TITHIS), "paksha": half, "ends": time(0, 24)},
            "nakshatra": {"name": random.choice(_NAKSHATRAS), "pada": random.randint(1, 4), "ends": time(0, 24)},
            "yoga": {"name": random.choice(_YOGAS), "ends": time(0, 24)},
            "karana": [{"name": random.choice(_KARANAS), "ends": time(0, 12)}, {"name": random.choice(_KARANAS)}],
            "sun": {"rise": time(5, 2), "set": time(17, 2), "longitude": degrees()},
            "moon": {"rise": time(0, 24), "set": time(0, 24), "longitude": degrees()},
            "rahu_kalam": {"from": time(7, 5), "to": time(13, 5)},
        }
    )
