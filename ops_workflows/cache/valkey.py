"""Keys of a Valkey or Redis server that would stay for ever get an expiry, and stale ones are unlinked.

With SCAN, and with EXPIRE and UNLINK in pipelines, under a rate limit. Nothing here blocks the server: it is never
asked for all keys at once, and never to forget all of them. Killed at any moment, a run has done its part; the next
begins anew, and finds less to do.

A key is unlinked within milliseconds of being found unread for long. What is written to it in between is lost, as if it
were evicted: OPS_REDIS_STALE is for keys whose values can be made anew.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from ops_workflows.cache.keyspace import ServerFacts, Swept, Wanted, matching, patterns, read_facts, to_rest
from ops_workflows.errors import CacheError, RefusedError
from ops_workflows.progress import SILENT, Progress
from ops_workflows.settings import Settings
from ops_workflows.valkey.client import connected, where

_PAGE = 200  # keys that one SCAN looks at: a fraction of a millisecond of the server's one thread, as is each pipeline
_FOR_EVER = -1  # what TTL says of a key without one


def server_facts(settings: Settings) -> ServerFacts:
    """What the server says of itself.

    Raises:
        CacheError: It is unreachable, or refuses us.
        ConfigurationError: OPS_REDIS_URL is not set, or cannot be read.
    """
    with connected(settings) as client:
        return read_facts(client.info("everything"))


def sweep(settings: Settings, progress: Progress = SILENT, *, dry_run: bool = False) -> Swept:
    """Go through the databases once, within OPS_REDIS_MOST_SECONDS.

    Args:
        settings: Which server, which keys.
        progress: Hears how it is getting on.
        dry_run: Count what would be done, and do nothing.

    Raises:
        CacheError: The server is unreachable, still loads its dataset, refuses us, or fails meanwhile. What was done
            by then is done.
        ConfigurationError: OPS_REDIS_URL is not set, or cannot be read.
        RefusedError: The server is part of a cluster.
    """
    began = time.monotonic()
    wanted = _wanted(settings)
    facts = server_facts(settings)
    if facts.clustered:
        raise RefusedError(
            f"The cache at {where(settings)} is part of a cluster, of which we would sweep one node only: "
            "unset OPS_REDIS_URL, and let its keys expire by themselves."
        )
    if facts.loading:
        raise CacheError(
            f"The cache at {where(settings)} is still loading the dataset, of which nothing can be said before. "
            "To do: wait until it has loaded."
        )
    swept = Swept(facts, facts)
    if wanted.stale and not facts.knows_age:
        swept.notes.append(
            f"Stale keys were left alone: under the policy {facts.policy} the server does not know when a key was read."
        )
    progress.begin("sweeping the cache", None, "keys")
    numbers = dict.fromkeys(map(int, filter(None, settings.redis_databases.split(","))))
    databases: list[int | None] = [*numbers] or [None]
    for database in databases:
        with connected(settings, database) as client:
            _Sweep(client, wanted, swept, progress, began=began, dry_run=dry_run).run()
    swept.after = server_facts(settings)
    swept.seconds = time.monotonic() - began
    if not swept.complete:
        swept.notes.append(
            f"{wanted.most_seconds:g} s are what one run may take (OPS_REDIS_MOST_SECONDS): the rest is for the next."
        )
    return swept


def _wanted(settings: Settings) -> Wanted:
    return Wanted(
        expiring=patterns(settings.redis_expiring),
        expiry_seconds=settings.redis_expiry_seconds,
        stale=patterns(settings.redis_stale),
        stale_seconds=settings.redis_stale_days * 86_400,
        keys_per_second=settings.redis_keys_per_second,
        most_seconds=settings.redis_most_seconds,
    )


class _Sweep:
    """One database, pattern by pattern."""

    def __init__(
        self, client: Any, wanted: Wanted, swept: Swept, progress: Progress, *, began: float, dry_run: bool
    ) -> None:
        self._client, self._wanted, self._swept, self._progress = client, wanted, swept, progress
        self._began, self._dry_run = began, dry_run
        self._going = [matching(pattern) for pattern in wanted.stale] if swept.before.knows_age else []

    def run(self) -> None:
        # Stale keys first, so that none of them is given an expiry only to go.
        if self._swept.before.knows_age:
            self._scan_each(self._wanted.stale, self._unlink_stale)
        self._scan_each(self._wanted.expiring, self._let_expire)

    def _scan_each(self, patterns: Sequence[str], treat: Callable[[Sequence[bytes]], None]) -> None:
        for number, pattern in enumerate(patterns):
            self._scan(pattern, patterns[:number], treat)

    def _scan(self, pattern: str, earlier: Sequence[str], treat: Callable[[Sequence[bytes]], None]) -> None:
        """Go through the keys of a pattern, but for those that matched one before it already."""
        treated = [matching(each) for each in earlier]
        began, looked_at, cursor = time.monotonic(), 0, 0
        while True:
            if time.monotonic() - self._began >= self._wanted.most_seconds:
                self._swept.complete = False
                return
            cursor, keys = self._client.scan(cursor, match=pattern, count=_PAGE)
            looked_at += _PAGE
            keys = [key for key in keys if not any(each.match(key) for each in treated)] if treated else keys
            if keys:
                self._swept.scanned += len(keys)
                treat(keys)
                self._progress.advance(self._swept.scanned)
            if cursor == 0:
                return
            time.sleep(to_rest(looked_at, time.monotonic() - began, self._wanted.keys_per_second))

    def _let_expire(self, keys: Sequence[bytes]) -> None:
        if self._dry_run:
            # Of what would have gone by now, nothing would be left to get one.
            gone = set(self._stale([key for key in keys if any(each.match(key) for each in self._going)]))
            keys = [key for key in keys if key not in gone]
        for_ever = [key for key, left in zip(keys, self._each("ttl", keys), strict=True) if left == _FOR_EVER]
        if self._dry_run or not for_ever:
            self._swept.given_expiry += len(for_ever)
            return
        # NX, as the application may have given it one since.
        given = self._each("expire", for_ever, self._wanted.expiry_seconds, nx=True)
        self._swept.given_expiry += sum(int(each) for each in given)

    def _unlink_stale(self, keys: Sequence[bytes]) -> None:
        stale = self._stale(keys)
        if self._dry_run or not stale:
            self._swept.unlinked += len(stale)
            return
        self._swept.unlinked += sum(int(each) for each in self._each("unlink", stale))

    def _stale(self, keys: Sequence[bytes]) -> list[bytes]:
        """Those of them that nobody has read for long."""
        ages = zip(keys, self._each("object", keys, before=("IDLETIME",)), strict=True) if keys else ()
        # A key that has gone meanwhile has no age.
        return [key for key, idle in ages if idle is not None and idle >= self._wanted.stale_seconds]

    def _each(
        self, command: str, keys: Sequence[bytes], *more: object, before: tuple[str, ...] = (), **options: object
    ) -> list[Any]:
        """One command for every key, sent together, and what the server said to each."""
        with self._client.pipeline(transaction=False) as pipeline:
            for key in keys:
                getattr(pipeline, command)(*before, key, *more, **options)
            answers = list(pipeline.execute(raise_on_error=False))
        # Raised here, because the client's own words would hold the key, which may be a secret of the application's.
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers
