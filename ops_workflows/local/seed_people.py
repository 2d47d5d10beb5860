"""Generated users and what belongs to them, as lines of COPY's text format. Every name and address is invented."""

import json
from datetime import datetime, timedelta
from random import Random

from ops_workflows.local.seed_places import Place

# fmt: off
_FIRST = (
    "aarav", "aditi", "ananya", "arjun", "deepa", "gopal", "indira", "kavya", "lakshmi", "madhav", "meera",
    "nikhil", "priya", "raghav", "rohan", "sita", "sunil", "uma", "vasudha", "vikram",
)
_LAST = (
    "acharya", "bhat", "chandran", "desai", "gupta", "iyer", "joshi", "kulkarni", "menon", "mishra", "nair",
    "patel", "rao", "reddy", "sharma", "shastri", "subramanian", "trivedi", "varma", "yadav",
)
# fmt: on
_LANGUAGE = {"telugu": "te", "tamil": "ta", "malayalam": "ml", "kannada": "kn", "north_indian": "hi"}
_ACTIONS = (
    ("login", "session"),
    ("update_preferences", "user_preferences"),
    ("create_api_key", "api_key"),
    ("revoke_api_key", "api_key"),
    ("update_profile", "user"),
)
_AGENTS = (
    "Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 Chrome/142.0 Mobile Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Version/19.0 Mobile Safari/604.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "panchangam-cli/1.4",
)
_NULL = r"\N"
_YEARS = 2 * 365 * 86400
_MONTHS = 60 * 86400


def account(random: Random, key: str, base: datetime) -> str:
    """A row of `users`."""
    # The head of its id makes the name unique within one run, and between differently seeded ones.
    username = f"{random.choice(_FIRST)}.{random.choice(_LAST)}.{key[:12]}"
    joined = base - timedelta(seconds=_MONTHS + random.randrange(_YEARS))
    seen = base - timedelta(seconds=int(random.paretovariate(0.6) * 600) % _MONTHS)
    active = "t" if _chance(random, 0.97) else "f"
    preferences = json.dumps({"theme": random.choice(("light", "dark")), "notify": _chance(random, 0.4)})
    return f"{key}\t{username}\t{username}@example.com\t{joined}\t{seen}\t{seen}\t{active}\t{preferences}\n"


def preference(random: Random, key: str, user: str, places: list[Place], base: datetime) -> str:
    """A row of `user_preferences`: at home in one of the popular places, mostly with the habits of that place."""
    place = places[min(int(random.paretovariate(1.0)) - 1, len(places) - 1)]
    language = _LANGUAGE.get(place.variation, "en") if _chance(random, 0.6) else "en"
    at = base - timedelta(seconds=random.randrange(_MONTHS))
    return (
        f"{key}\t{user}\t{place.timezone}\t{place.latitude}\t{place.longitude}\t{place.name}\t{place.system}"
        f"\t{place.variation}\t{language}\t{at}\t{at}\n"
    )


def api_key(random: Random, key: str, user: str, base: datetime) -> str:
    """A row of `api_keys`. The hash is random: there is no key that it belongs to."""
    made = base - timedelta(seconds=random.randrange(_MONTHS))
    scopes = json.dumps(random.choice((["read"], ["read", "calendar"], ["read", "write"])))
    used = base - timedelta(seconds=random.randrange(_MONTHS)) if _chance(random, 0.7) else _NULL
    limit = random.choice((1000, 1000, 5000, 20000))
    return f"{key}\t{user}\t{random.randbytes(32).hex()}\tkey {key[:4]}\t{scopes}\tt\t{used}\t{made}\t{limit}\n"


def audit_entry(random: Random, key: str, users: list[str], base: datetime) -> str:
    """A row of `audit_log`; addresses are of the ranges set aside for documentation."""
    action, entity = random.choice(_ACTIONS)
    user = users[min(int(random.paretovariate(0.8)) - 1, len(users) - 1)]
    old, new = _NULL, _NULL
    if action.startswith("update"):
        old, new = json.dumps({"language": "en"}), json.dumps({"language": random.choice(("hi", "ta", "te", "kn"))})
    address = f"203.0.113.{random.randrange(256)}" if _chance(random, 0.8) else f"2001:db8::{random.randrange(65536):x}"
    at = base - timedelta(seconds=random.randrange(_MONTHS), microseconds=random.randrange(1_000_000))
    subject = random.randbytes(16).hex()
    return f"{key}\t{user}\t{action}\t{entity}\t{subject}\t{old}\t{new}\t{address}\t{random.choice(_AGENTS)}\t{at}\n"


def _chance(random: Random, share: float) -> bool:
    return random.random() < share
