"""Faults of a backup's objects: each cut, altered, emptied, taken away, or put in the place of another."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from ops_workflows.faults.kinds import Fault, Made, Make
from ops_workflows.faults.outcome import CATALOGUE
from ops_workflows.faults.stage import Stage
from ops_workflows.faults.tamper import (
    Change,
    changed,
    empty,
    flip,
    gone,
    other_bytes,
    without_beginning,
    without_end,
)
from ops_workflows.repository.layout import MANIFEST, RECORD, ROWS
from ops_workflows.repository.rungs import Rung

_FAMILY = "object"
_RECORD_FAMILY = "record"
_ALTERATIONS: dict[str, Callable[[Random], Change]] = {
    "a bit flipped": flip,
    "its end missing": without_end,
    "its beginning missing": without_beginning,
    "empty": empty,
    "overwritten by as many other bytes": other_bytes,
}
_ARCHIVE = "base.tar"
_NAMES = {_ARCHIVE: "archive", MANIFEST: "manifest", ROWS: "row counts", RECORD: "record"}


def faults() -> list[Fault]:
    """All of them."""
    found = [_altered(name, how) for name in (_ARCHIVE, MANIFEST, ROWS) for how in _ALTERATIONS]
    found += [_altered(RECORD, how) for how in ("a bit flipped", "its end missing", "empty")]
    found += [_missing(name) for name in _NAMES]
    found += [_swapped(name) for name in _NAMES]
    found.append(Fault("archive: of another cluster", _FAMILY, Rung.STORED, _of_another_cluster))
    found.append(Fault("archive: torn upload, never completed", _FAMILY, Rung.STORED, _torn_upload))
    return found


def _altered(name: str, how: str) -> Fault:
    @contextmanager
    def make(stage: Stage, chance: Random) -> Iterator[Made]:
        key, said = _key(stage, name)
        with changed(stage.scene.repository.store, key, _ALTERATIONS[how](chance)):
            yield Made(stage.look(), (said,))

    return _fault(name, how, make, fast=how == "a bit flipped")


def _missing(name: str) -> Fault:
    @contextmanager
    def make(stage: Stage, _chance: Random) -> Iterator[Made]:
        key, said = _key(stage, name)
        with gone(stage.scene.repository.store, key):
            yield Made(stage.look(), (stage.scene.backup.id if name == RECORD else said,))

    return _fault(name, "missing", make)


def _swapped(name: str) -> Fault:
    @contextmanager
    def make(stage: Stage, _chance: Random) -> Iterator[Made]:
        scene = stage.scene
        store, layout = scene.repository.store, scene.repository.layout
        key, said = _key(stage, name)
        other = store.get(layout.backup(scene.earlier.id, said))
        with changed(store, key, lambda _content: other):
            yield Made(stage.look(), (said,))

    return _fault(name, "that of another backup", make)


@contextmanager
def _of_another_cluster(stage: Stage, _chance: Random) -> Iterator[Made]:
    scene, foreign = stage.scene, stage.foreign
    key, said = _key(stage, _ARCHIVE)
    store = scene.repository.store
    other = store.get(stage.other.repository.layout.backup(foreign.id, said))
    with changed(store, key, lambda _content: other):
        yield Made(stage.look(), (said,))


@contextmanager
def _torn_upload(stage: Stage, _chance: Random) -> Iterator[Made]:
    store = stage.scene.repository.store
    key, said = _key(stage, _ARCHIVE)
    content = store.get(key)
    with gone(store, key):
        upload_id = store.begin_upload(key)
        try:
            store.put_part(key, upload_id, 1, content, offset=0)
            yield Made(stage.look(), (said,))
        finally:
            store.abort_upload(key, upload_id)


def _fault(name: str, how: str, make: Make, *, fast: bool = False) -> Fault:
    is_record = name == RECORD
    family, must = (_RECORD_FAMILY, CATALOGUE) if is_record else (_FAMILY, Rung.STORED)
    return Fault(f"{_NAMES[name]}: {how}", family, must, make, fast and name in {_ARCHIVE, RECORD})


def _key(stage: Stage, name: str) -> tuple[str, str]:
    """The key of an object of the backup, and its full name, whose ending says how it is compressed."""
    backup = stage.scene.backup
    full = next((stored.name for stored in backup.objects if stored.name.startswith(name)), name)
    return stage.scene.repository.layout.backup(backup.id, full), full
