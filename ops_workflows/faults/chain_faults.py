"""Faults of what an incremental backup builds on: its own objects are whole."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from ops_workflows.faults.kinds import Fault, Made
from ops_workflows.faults.stage import Stage
from ops_workflows.faults.tamper import changed, flip, gone, without_end
from ops_workflows.repository.layout import MANIFEST, RECORD
from ops_workflows.repository.rungs import Rung

_FAMILY = "chain"
_ARCHIVE = "base.tar"


def faults() -> list[Fault]:
    """All of them."""
    return [
        _altered("parent's archive: a bit flipped", _ARCHIVE, flip, fast=True),
        _altered("parent's archive: its end missing", _ARCHIVE, without_end),
        _altered("parent's manifest: a bit flipped", MANIFEST, flip),
        _altered("parent's record: a bit flipped", RECORD, flip),
        _missing("parent's archive: missing", _ARCHIVE),
        _missing("parent's manifest: missing", MANIFEST),
        _missing("parent's record: missing", RECORD),
        Fault("parent: another backup's objects", _FAMILY, Rung.RESTORED, _another_parent),
    ]


def _altered(kind: str, name: str, how: Callable[[Random], Callable[[bytes], bytes]], *, fast: bool = False) -> Fault:
    @contextmanager
    def make(stage: Stage, chance: Random) -> Iterator[Made]:
        key = _key(stage, name)
        with changed(stage.scene.repository.store, key, how(chance)):
            yield Made(stage.look(stage.scene.incremental), (stage.scene.backup.id,))

    return Fault(kind, _FAMILY, Rung.RESTORED, make, fast)


def _missing(kind: str, name: str) -> Fault:
    @contextmanager
    def make(stage: Stage, _chance: Random) -> Iterator[Made]:
        with gone(stage.scene.repository.store, _key(stage, name)):
            yield Made(stage.look(stage.scene.incremental), (stage.scene.backup.id,))

    return Fault(kind, _FAMILY, Rung.RESTORED, make)


@contextmanager
def _another_parent(stage: Stage, _chance: Random) -> Iterator[Made]:
    scene = stage.scene
    store, layout = scene.repository.store, scene.repository.layout
    foreign = store.get(layout.backup(scene.earlier.id, scene.earlier.archives()[0].name))
    with changed(store, _key(stage, _ARCHIVE), lambda _content: foreign):
        yield Made(stage.look(scene.incremental), (scene.backup.id,))


def _key(stage: Stage, name: str) -> str:
    backup = stage.scene.backup
    full = next((stored.name for stored in backup.objects if stored.name.startswith(name)), name)
    return stage.scene.repository.layout.backup(backup.id, full)
