"""The repository: whether it takes and gives, what it knows of the cluster, and how old its newest proved backup is."""

import secrets
from collections.abc import Iterator
from datetime import timedelta
from functools import partial

from ops_workflows.errors import RefusedError
from ops_workflows.health.evidence import Held
from ops_workflows.health.probe import Budget, Probe, Seen
from ops_workflows.health.reading import Check, Reading, Severity, Threshold, critical, measured, ok
from ops_workflows.repository.backup import Backup, utc_now
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.layout import Layout, probes, systems
from ops_workflows.repository.proved import PROVED, newest_proved
from ops_workflows.settings import Settings
from ops_workflows.storage.store import ObjectStore, open_store

_LEFT_BEHIND = timedelta(hours=1)  # by a round that was killed
_HOUR = timedelta(hours=1)


def bucket(settings: Settings) -> Probe:
    """The probe that stores and deletes an object, with settings whose timeouts are short."""
    return Probe("bucket", _where(settings), [Check.BUCKET], partial(_look, settings), Severity.CRITICAL)


def repository(settings: Settings, threshold: Threshold) -> Probe:
    """The probe that reads what is there; likewise."""
    checks = [Check.PROVED_BACKUP] if settings.backup_method != "dumps" else []
    return Probe("repository", _where(settings), checks, partial(_read, settings, threshold))


def _where(settings: Settings) -> str:
    return settings.repository_url or f"{settings.s3_endpoint_url} {settings.s3_bucket}/{settings.s3_prefix}"


def _look(settings: Settings, budget: Budget) -> Iterator[Seen]:
    store = open_store(settings)
    prefix = probes(settings.repository_prefix)
    key = f"{prefix}{secrets.token_hex(8)}"
    budget.step()
    store.put(key, b"", if_absent=True)
    try:
        yield _is_conditional(store, key)
    finally:
        old = [
            each.key
            for each in store.objects(prefix)
            if each.modified is not None and each.modified + _LEFT_BEHIND < utc_now()
        ]
        store.delete([key, *old])
        # A versioned bucket would keep one of each round.
        store.delete_versions([each for gone in (key, *old) for each in store.versions(gone)])


def _is_conditional(store: ObjectStore, key: str) -> Reading:
    try:
        store.put(key, b"", if_absent=True)
    except RefusedError:
        return ok(Check.BUCKET, f"{store} stores, refuses to replace, and deletes.")
    do = "use a server that honours If-None-Match: mutual exclusion rests on it"
    return critical(Check.BUCKET, f"{store} replaced an object that it was told not to.", do)


def _read(settings: Settings, threshold: Threshold, budget: Budget) -> Iterator[Seen]:
    budget.step()
    store, prefix = open_store(settings), settings.repository_prefix
    known = [name for name in store.folders(systems(prefix)) if name.isdecimal()]
    # Folders of the log and not its objects: there may be very many of those.
    timelines = {
        system: max((int(name, 16) for name in store.folders(Layout(prefix, system).wal)), default=0)
        for system in known
    }
    backups = {} if settings.backup_method == "dumps" else {each: _of(settings, each).catalogue() for each in known}
    for system, catalogue in backups.items():
        timelines[system] = max([timelines[system], *(each.timeline for each in catalogue.readable)])
    yield Held(tuple(known), {system: number for system, number in timelines.items() if number})
    if settings.backup_method == "dumps":
        return
    if not known:
        yield critical(Check.PROVED_BACKUP, "There is no backup.", "take one, `ops backup`, and prove it, `ops verify`")
        return
    budget.step()
    yield judge_proved(newest_proved(open_repository(settings), settings.proof_days), threshold)


def _of(settings: Settings, system: str) -> Repository:
    return open_repository(settings, system)


def judge_proved(backup: Backup | None, threshold: Threshold) -> Reading:
    """Whether the newest proved backup is new enough."""
    check = Check.PROVED_BACKUP
    if backup is None:
        do = "run `ops verify`, and see why `verify_backups` does not run"
        return critical(check, f"No backup was shown to be {PROVED} within OPS_PROOF_DAYS.", do)
    hours = (utc_now() - backup.finished_at) / _HOUR
    said = f"The newest proved backup, {backup.id}, is {hours:,.1f} h old."
    do = "take one, `ops backup`, prove it, `ops verify`, and see why the nightly ones do not"
    return measured(check, round(hours, 2), "h", threshold, said=said, do=do)
