"""Faults of a dump's objects, of its fingerprint and of its record."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from ops_workflows.faults.kinds import Fault, Made, Make
from ops_workflows.faults.outcome import CATALOGUE, RESTORABLE
from ops_workflows.faults.stage import Stage
from ops_workflows.faults.tamper import Change, changed, empty, flip, gone, without_beginning, without_end
from ops_workflows.repository.dumps import FINGERPRINT, GLOBALS, RECORD, SETTINGS, Dumps, object_name
from ops_workflows.repository.records import sealed

_FAMILY = "dump"
_DUMP = object_name("postgres")
_NAMES = {
    _DUMP: "dump",
    FINGERPRINT: "fingerprint",
    GLOBALS: "roles of a dump",
    SETTINGS: "settings of a dump",
    RECORD: "record of a dump",
}
_ALTERATIONS: dict[str, Callable[[Random], Change]] = {
    "a bit flipped": flip,
    "its end missing": without_end,
    "its beginning missing": without_beginning,
    "empty": empty,
}


def faults() -> list[Fault]:
    """All of them."""
    found = [_altered(_DUMP, how) for how in _ALTERATIONS]
    found += [_altered(name, how) for name in (FINGERPRINT, RECORD) for how in ("a bit flipped", "empty")]
    found += [_altered(name, "a bit flipped") for name in (GLOBALS, SETTINGS)]
    found += [_missing(name) for name in _NAMES]
    found += [_swapped(name) for name in (_DUMP, FINGERPRINT, RECORD)]
    found.append(Fault("dump: made by a newer pg_dump", _FAMILY, RESTORABLE, _newer))
    return found


def _altered(name: str, how: str) -> Fault:
    @contextmanager
    def make(stage: Stage, chance: Random) -> Iterator[Made]:
        with changed(stage.scene.repository.store, _key(stage, name), _ALTERATIONS[how](chance)):
            yield Made(stage.look_at_dump(), (name,))

    return _fault(name, how, make)


def _missing(name: str) -> Fault:
    @contextmanager
    def make(stage: Stage, _chance: Random) -> Iterator[Made]:
        with gone(stage.scene.repository.store, _key(stage, name)):
            yield Made(stage.look_at_dump(), (stage.scene.dump.id if name == RECORD else name,))

    return _fault(name, "missing", make)


def _swapped(name: str) -> Fault:
    @contextmanager
    def make(stage: Stage, _chance: Random) -> Iterator[Made]:
        scene = stage.scene
        other = scene.repository.store.get(Dumps(scene.repository).key(scene.earlier_dump.id, name))
        with changed(scene.repository.store, _key(stage, name), lambda _was: other):
            yield Made(stage.look_at_dump(), (name,))

    return _fault(name, "that of another dump", make)


@contextmanager
def _newer(stage: Stage, _chance: Random) -> Iterator[Made]:
    record = sealed(stage.scene.dump.model_copy(update={"programs_major": 99}))
    with changed(stage.scene.repository.store, _key(stage, RECORD), lambda _was: record):
        yield Made(stage.look_at_dump(), (stage.scene.dump.id,))


def _fault(name: str, how: str, make: Make) -> Fault:
    must = CATALOGUE if name == RECORD else RESTORABLE
    return Fault(f"{_NAMES[name]}: {how}", _FAMILY, must, make, (name, how) == (_DUMP, "a bit flipped"))


def _key(stage: Stage, name: str) -> str:
    return Dumps(stage.scene.repository).key(stage.scene.dump.id, name)
