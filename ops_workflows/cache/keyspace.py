"""What a Valkey or Redis server is asked to let go, and what it reported of itself: no server needed to read this."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to do with which keys.

    Attributes:
        expiring: Patterns of keys that have to expire.
        expiry_seconds: What such a key gets if it would live for ever.
        stale: Patterns of keys that go when nobody has read them for long.
        stale_seconds: That long.
        keys_per_second: How many keys are looked at.
        most_seconds: Longest that all may take.
    """

    expiring: tuple[str, ...]
    expiry_seconds: int
    stale: tuple[str, ...]
    stale_seconds: float
    keys_per_second: int
    most_seconds: float


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What the server says of itself.

    Attributes:
        version: Of the server.
        used_bytes: Memory that it uses.
        most_bytes: That it may use; 0 for no bound.
        policy: How it evicts.
        evicted: Keys that it has evicted since its start.
        expired: Keys that have expired since.
        hits: Reads that found their key since.
        misses: Reads that did not.
        clustered: Whether it is part of a cluster.
        loading: Whether it still loads its dataset, and the figures are those of a part.
        databases: Keys by database number, of those that have any.
    """

    version: str
    used_bytes: int
    most_bytes: int
    policy: str
    evicted: int
    expired: int
    hits: int
    misses: int
    clustered: bool
    loading: bool
    databases: Mapping[int, int]

    @property
    def hit_rate(self) -> float | None:
        """Fraction of reads that found their key; None before the first."""
        reads = self.hits + self.misses
        return self.hits / reads if reads else None

    @property
    def knows_age(self) -> bool:
        """Whether it can say for how long a key was not read; under LFU it counts something else in that place."""
        return not self.policy.endswith("-lfu")

    @property
    def refuses_when_full(self) -> bool:
        """Whether writes fail once its memory is used up, as nothing is evicted."""
        return self.most_bytes > 0 and self.policy == "noeviction"

    @property
    def fullness(self) -> float | None:
        """Fraction of the memory it may use that it uses; None without a bound."""
        return self.used_bytes / self.most_bytes if self.most_bytes else None


@dataclass(slots=True)
class Swept:
    """What a run has done in all databases; of a dry run, what it would have done.

    Attributes:
        before: The server at its begin.
        after: At its end.
        scanned: Keys that matched a pattern and were looked at.
        given_expiry: Keys that got one.
        unlinked: Keys that went.
        complete: Whether all databases were gone through.
        seconds: How long it took.
        notes: What else deserves a sentence.
    """

    before: ServerFacts
    after: ServerFacts
    scanned: int = 0
    given_expiry: int = 0
    unlinked: int = 0
    complete: bool = True
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


def patterns(text: str) -> tuple[str, ...]:
    """Patterns as a setting has them, with commas in between."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def matching(pattern: str) -> re.Pattern[bytes]:
    r"""What the server takes for a match of a pattern of its own, of the whole key.

    It knows `*`, `?`, sets such as `[a-c]` and `[^ab]`, and `\` before a character that means itself; a set that is
    not closed ends with the pattern.
    """
    text, parts = pattern.encode(), []
    while text:
        sign, text = text[:1], text[1:]
        if sign == b"*":
            parts.append(b".*")
        elif sign == b"?":
            parts.append(b".")
        elif sign == b"[":
            part, text = _set(text)
            parts.append(part)
        else:
            if sign == b"\\" and text:
                sign, text = text[:1], text[1:]
            parts.append(re.escape(sign))
    return re.compile(b"(?s:" + b"".join(parts) + rb")\Z")


def _set(text: bytes) -> tuple[bytes, bytes]:
    """The set that a pattern begins with, after its bracket, and the pattern behind it."""
    negated = text.startswith(b"^")
    text = text[negated:]
    members: set[int] = set()
    while text and text[:1] != b"]":
        if text[:1] == b"\\" and len(text) > 1:
            members.add(text[1])
            text = text[2:]
        elif len(text) > 2 and text[1:2] == b"-":  # noqa: PLR2004 - three bytes, as in a-z
            first, last = sorted((text[0], text[2]))
            members |= set(range(first, last + 1))
            text = text[3:]
        else:
            members.add(text[0])
            text = text[1:]
    if negated:
        members = set(range(256)) - members
    inside = b"".join(b"\\x%02x" % each for each in sorted(members))
    return (b"[" + inside + b"]" if inside else b"(?!)"), text[1:]


def read_facts(info: Mapping[str, object]) -> ServerFacts:
    """What INFO says, as the client has parsed it."""

    def number(name: str) -> int:
        value = info.get(name, 0)
        return int(value) if isinstance(value, int | float | str) else 0

    counts = {
        int(name.removeprefix("db")): int(value.get("keys", 0))
        for name, value in info.items()
        if name.startswith("db") and name[2:].isdigit() and isinstance(value, Mapping)
    }
    return ServerFacts(
        version=str(info.get("valkey_version") or info.get("redis_version", "")),
        used_bytes=number("used_memory"),
        most_bytes=number("maxmemory"),
        policy=str(info.get("maxmemory_policy", "")),
        evicted=number("evicted_keys"),
        expired=number("expired_keys"),
        hits=number("keyspace_hits"),
        misses=number("keyspace_misses"),
        clustered=number("cluster_enabled") == 1,
        loading=number("loading") == 1,
        databases=counts,
    )


def to_rest(keys: int, seconds: float, keys_per_second: int) -> float:
    """Seconds to rest so that so many keys, after so many seconds, are no more than the rate allows."""
    return max(0.0, keys / keys_per_second - seconds)
