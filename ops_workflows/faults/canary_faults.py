"""Faults that canaries tell of: rows that are missing, doubled or too early, and clocks that jumped.

The log stays as it is. What the bucket is told of it changes, to the same effect: a canary that is noted and was never
committed is missing from every restore.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from random import Random

from ops_workflows.faults.kinds import Fault, Made
from ops_workflows.faults.scene import hidden, noted
from ops_workflows.faults.stage import Stage
from ops_workflows.repository.canaries import Canary
from ops_workflows.repository.rungs import Rung

_FAMILY = "canary"
_A_LITTLE = timedelta(milliseconds=2)
_INSTANT = timedelta(microseconds=1)
_HOUR = timedelta(hours=1)


def faults() -> list[Fault]:
    """All of them."""
    return [
        Fault("canary: missing", _FAMILY, Rung.EXACT, _missing, fast=True),
        Fault("canary: doubled", _FAMILY, Rung.EXACT, _doubled),
        Fault("canary: one from after the moment is there", _FAMILY, Rung.EXACT, _too_early),
        Fault("canary: one from before the moment comes later", _FAMILY, Rung.EXACT, _too_late),
        Fault("clock: set an hour ahead between canaries", _FAMILY, Rung.EXACT, _clock_ahead),
        Fault("clock: set an hour back between canaries", _FAMILY, Rung.EXACT, _clock_back),
        Fault("heartbeat: one from after the moment is there", _FAMILY, Rung.EXACT, _late_heartbeat),
        Fault("canaries: none at all", _FAMILY, Rung.EXACT, _none),
    ]


@contextmanager
def _missing(stage: Stage, _chance: Random) -> Iterator[Made]:
    """The bucket knows of it, and the database never did."""
    first, _ = stage.scene.known
    lost = replace(_told(first, -_A_LITTLE), token=secrets.token_hex(8))
    with noted(stage.scene, lost):
        yield Made(stage.look(), (lost.token, "missing"))


@contextmanager
def _doubled(stage: Stage, _chance: Random) -> Iterator[Made]:
    first, _ = stage.scene.known
    doubled = replace(_told(first, -_A_LITTLE), token=stage.scene.hidden.doubled.token)
    with noted(stage.scene, doubled):
        yield Made(stage.look(), (doubled.token, "2 times"))


@contextmanager
def _too_early(stage: Stage, _chance: Random) -> Iterator[Made]:
    """What was committed before the moment is said to have been committed after it."""
    _, second = stage.scene.known
    told = replace(stage.scene.hidden.before, before=second.after + _INSTANT, after=second.after + 2 * _INSTANT)
    with noted(stage.scene, told):
        yield Made(stage.look(), (told.token, "is there"))


@contextmanager
def _too_late(stage: Stage, _chance: Random) -> Iterator[Made]:
    """What was committed after the moment is said to have been committed before it."""
    first, _ = stage.scene.known
    told = replace(stage.scene.hidden.after, before=first.before - _A_LITTLE, after=first.after - _A_LITTLE)
    with noted(stage.scene, told):
        yield Made(stage.look(), (told.token, "missing"))


@contextmanager
def _clock_ahead(stage: Stage, _chance: Random) -> Iterator[Made]:
    """The second canary is noted an hour late: a moment between the two lies behind both commits."""
    _, second = stage.scene.known
    told = _told(second, _HOUR)
    with hidden(stage.scene, second), noted(stage.scene, told):
        yield Made(stage.look(), ())


@contextmanager
def _clock_back(stage: Stage, _chance: Random) -> Iterator[Made]:
    """The second canary is noted an hour early, before the backup: none is left behind the first."""
    _, second = stage.scene.known
    told = _told(second, -_HOUR)
    with hidden(stage.scene, second), noted(stage.scene, told):
        yield Made(stage.look(), (stage.scene.backup.id, "canaries"))


@contextmanager
def _late_heartbeat(stage: Stage, _chance: Random) -> Iterator[Made]:
    """A heartbeat was written while the clock was ahead: at the moment it is there, and its time has not come yet."""
    scene = stage.scene
    with hidden(scene, *scene.known), noted(scene, *scene.hidden.early):
        yield Made(stage.look(), (scene.late_sender,))


@contextmanager
def _none(stage: Stage, _chance: Random) -> Iterator[Made]:
    with hidden(stage.scene, *stage.scene.known):
        yield Made(stage.look(), (stage.scene.backup.id, "canaries"))


def _told(canary: Canary, later: timedelta) -> Canary:
    return replace(canary, before=canary.before + later, after=canary.after + later)
