"""Where the generated users are: places around real cities, the popular ones far more often than the rest."""

from dataclasses import dataclass
from itertools import accumulate
from random import Random

PLACES = 400
SYSTEMS = ("purnimanta", "amanta")
VARIATIONS = ("north_indian", "south_indian", "telugu", "tamil", "malayalam", "kannada")

# name, latitude, longitude, IANA zone, calculation system and regional variation that people there mostly use
_CITIES = (
    ("New Delhi", 28.6139, 77.2090, "Asia/Kolkata", "purnimanta", "north_indian"),
    ("Mumbai", 19.0760, 72.8777, "Asia/Kolkata", "amanta", "south_indian"),
    ("Hyderabad", 17.3850, 78.4867, "Asia/Kolkata", "amanta", "telugu"),
    ("Chennai", 13.0827, 80.2707, "Asia/Kolkata", "amanta", "tamil"),
    ("Bengaluru", 12.9716, 77.5946, "Asia/Kolkata", "amanta", "kannada"),
    ("Varanasi", 25.3176, 82.9739, "Asia/Kolkata", "purnimanta", "north_indian"),
    ("Kochi", 9.9312, 76.2673, "Asia/Kolkata", "amanta", "malayalam"),
    ("Kathmandu", 27.7172, 85.3240, "Asia/Kathmandu", "purnimanta", "north_indian"),
    ("Singapore", 1.3521, 103.8198, "Asia/Singapore", "amanta", "tamil"),
    ("Dubai", 25.2048, 55.2708, "Asia/Dubai", "amanta", "malayalam"),
    ("London", 51.5074, -0.1278, "Europe/London", "purnimanta", "north_indian"),
    ("Edison", 40.5187, -74.4121, "America/New_York", "amanta", "telugu"),
    ("San Jose", 37.3382, -121.8863, "America/Los_Angeles", "amanta", "telugu"),
    ("Toronto", 43.6532, -79.3832, "America/Toronto", "purnimanta", "north_indian"),
    ("Sydney", -33.8688, 151.2093, "Australia/Sydney", "amanta", "tamil"),
    ("Port Louis", -20.1609, 57.5012, "Indian/Mauritius", "purnimanta", "north_indian"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere that calculations are asked for, and how likely one for it is in the cache already."""

    name: str
    latitude: str
    longitude: str
    timezone: str
    system: str
    variation: str
    hit_rate: float


def zipf(count: int, exponent: float = 1.0) -> list[float]:
    """Cumulative weights by which the k-th of `count` is chosen in proportion to 1/k^exponent."""
    return list(accumulate(1 / rank**exponent for rank in range(1, count + 1)))


def places(random: Random) -> list[Place]:
    """`PLACES` places, the most popular first; no two runs of the generator share one.

    Each is a city moved by up to about 25 km, to the eight decimals that the schema keeps. That makes the cache keys of
    two differently seeded runs differ.
    """
    found = []
    for rank in range(PLACES):
        name, latitude, longitude, timezone, system, variation = _CITIES[rank % len(_CITIES)]
        found.append(
            Place(
                name,
                f"{latitude + random.uniform(-0.2, 0.2):.8f}",
                f"{longitude + random.uniform(-0.2, 0.2):.8f}",
                timezone,
                system,
                variation,
                # Popular places are kept warm by others' queries.
                hit_rate=0.25 + 0.72 / (1 + rank / 25),
            )
        )
    return found
