"""Faults of the log: segments, tails and history files altered, cut, gone, or not what their names say."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from random import Random

from ops_workflows.faults.kinds import Fault, Made, Make
from ops_workflows.faults.scene import Scene, hidden, noted
from ops_workflows.faults.stage import Stage
from ops_workflows.faults.tamper import (
    Change,
    changed,
    empty,
    flip_that_tells,
    gone,
    without_beginning,
    without_end,
)
from ops_workflows.repository.reach import read_listing
from ops_workflows.repository.rungs import Rung
from ops_workflows.repository.wal import Piece, history_key
from ops_workflows.storage.codec import Codec, compress, decompress

_FAMILY = "log"
_LEVEL = 1
Victim = Callable[[Scene, Random], Piece]


def faults() -> list[Fault]:
    """All of them."""
    alterations: dict[str, Callable[[Random], Change]] = {
        "a bit flipped": lambda chance: flip_that_tells(chance, _log),
        "its end missing": without_end,
        "its beginning missing": without_beginning,
        "empty": empty,
    }
    found = [
        _altered(f"{name}: {how}", victim, change, fast=(name, how) == ("segment", "a bit flipped"))
        for name, victim in (("segment", _segment), ("tail", _tail))
        for how, change in alterations.items()
    ]
    return [
        *found,
        Fault("segment: missing in the middle", _FAMILY, Rung.CONTIGUOUS, _missing_in_the_middle, fast=True),
        Fault("segment: the first behind the backup missing", _FAMILY, Rung.CONTIGUOUS, _missing_first),
        Fault("tail: missing, with the second canary in it", _FAMILY, Rung.CONTIGUOUS, _missing_tail),
        Fault("two segments: swapped", _FAMILY, Rung.CHECKSUMMED, _swapped),
        Fault("segment: of another place", _FAMILY, Rung.CHECKSUMMED, _of_another_place),
        Fault("segment: of another timeline", _FAMILY, Rung.CHECKSUMMED, _of_another_timeline),
        Fault("segment: of another cluster", _FAMILY, Rung.CHECKSUMMED, _of_another_cluster),
        Fault("segment: other log, well compressed", _FAMILY, Rung.CHECKSUMMED, _other_log),
        Fault("history file: missing", _FAMILY, Rung.CONTIGUOUS, _history_missing),
        Fault("history file: empty", _FAMILY, Rung.CONTIGUOUS, _history(empty)),
        Fault("history file: another place", _FAMILY, Rung.EXACT, _history(lambda _chance: _moved)),
        Fault("log behind all canaries: a bit flipped", _FAMILY, Rung.CHECKSUMMED, _behind_all_canaries),
        Fault("log behind all canaries: its tail missing", _FAMILY, Rung.CONTIGUOUS, _tail_behind_all_canaries),
        Fault("log that was read before: its tail missing", _FAMILY, Rung.CONTIGUOUS, _tail_that_was_read),
    ]


def _altered(kind: str, victim: Victim, change: Callable[[Random], Change], *, fast: bool = False) -> Fault:
    @contextmanager
    def make(stage: Stage, chance: Random) -> Iterator[Made]:
        piece = victim(stage.scene, chance)
        with changed(stage.scene.repository.store, piece.key, change(chance)):
            yield Made(stage.look(), (_name(piece),))

    return Fault(kind, _FAMILY, Rung.CHECKSUMMED, make, fast)


def _segment(scene: Scene, chance: Random) -> Piece:
    return chance.choice([*scene.segments(1), *scene.segments(2)])


def _tail(scene: Scene, _chance: Random) -> Piece:
    return scene.tail


@contextmanager
def _missing_in_the_middle(stage: Stage, chance: Random) -> Iterator[Made]:
    piece = chance.choice([*stage.scene.segments(1)[1:], *stage.scene.segments(2)[1:]])
    with gone(stage.scene.repository.store, piece.key):
        yield Made(stage.look(), (_name(piece),))


@contextmanager
def _missing_first(stage: Stage, _chance: Random) -> Iterator[Made]:
    piece = stage.scene.segments(1)[0]
    with gone(stage.scene.repository.store, piece.key):
        yield Made(stage.look(), (_name(piece),))


@contextmanager
def _missing_tail(stage: Stage, _chance: Random) -> Iterator[Made]:
    with gone(stage.scene.repository.store, stage.scene.tail.key):
        yield Made(stage.look(), (stage.scene.known[0].token,))


@contextmanager
def _swapped(stage: Stage, chance: Random) -> Iterator[Made]:
    store = stage.scene.repository.store
    one, other = chance.sample(stage.scene.segments(1), 2)
    contents = {one.key: store.get(other.key), other.key: store.get(one.key)}
    with ExitStack() as stack:
        for key, content in contents.items():
            stack.enter_context(changed(store, key, _becoming(content)))
        yield Made(stage.look(), (_name(min(one, other, key=lambda piece: piece.start)),))


@contextmanager
def _of_another_place(stage: Stage, chance: Random) -> Iterator[Made]:
    store = stage.scene.repository.store
    victim, other = chance.sample(stage.scene.segments(1), 2)
    with changed(store, victim.key, _becoming(store.get(other.key))):
        yield Made(stage.look(), (_name(victim),))


@contextmanager
def _of_another_timeline(stage: Stage, _chance: Random) -> Iterator[Made]:
    """The segment that both timelines have, as the old one left it: the new one's begins alike."""
    scene = stage.scene
    segment = scene.backup.wal_segment_bytes
    last = scene.pieces(1)[-1]
    victim = next(piece for piece in scene.segments(2) if piece.start == last.start - last.start % segment)
    old = scene.repository.log(last.key)
    with changed(scene.repository.store, victim.key, _becoming(compress(old.ljust(segment, b"\0"), _LEVEL))):
        yield Made(stage.look(), (_name(victim),))


@contextmanager
def _of_another_cluster(stage: Stage, chance: Random) -> Iterator[Made]:
    scene, foreign = stage.scene, stage.foreign
    repository = stage.other.repository
    theirs = read_listing(repository, foreign.wal_segment_bytes)[0].pieces
    numbers = {piece.start: piece for piece in theirs if piece.whole}
    shared = [piece for piece in scene.segments(1) if piece.start in numbers]
    victim = chance.choice(shared or scene.segments(1))
    content = repository.store.get((numbers.get(victim.start) or theirs[0]).key)
    with changed(scene.repository.store, victim.key, _becoming(content)):
        yield Made(stage.look(), (_name(victim),))


@contextmanager
def _other_log(stage: Stage, chance: Random) -> Iterator[Made]:
    """Bytes are others inside of it, and it was compressed anew: only the digest beside it can tell."""
    victim = _segment(stage.scene, chance)

    def change(content: bytes) -> bytes:
        log = bytearray(_log(content))
        at = chance.randrange(64, 8192)
        log[at] ^= 1 << chance.randrange(8)
        return compress(bytes(log), _LEVEL)

    with changed(stage.scene.repository.store, victim.key, change):
        yield Made(stage.look(), (_name(victim),))


@contextmanager
def _history_missing(stage: Stage, _chance: Random) -> Iterator[Made]:
    with gone(stage.scene.repository.store, _history_object(stage.scene)):
        yield Made(stage.look(), ("history", "timeline 2"))


def _history(change: Callable[[Random], Change]) -> Make:
    @contextmanager
    def make(stage: Stage, chance: Random) -> Iterator[Made]:
        with changed(stage.scene.repository.store, _history_object(stage.scene), change(chance)):
            yield Made(stage.look(), ("timeline",))

    return make


def _moved(content: bytes) -> bytes:
    """As if the timeline had been left a segment earlier."""
    number, place, *why = content.split(b"\t")
    high, low = (int(part, 16) for part in place.split(b"/"))
    return b"\t".join([number, f"{high:X}/{low - 0x1000000:X}".encode(), *why])


@contextmanager
def _behind_all_canaries(stage: Stage, chance: Random) -> Iterator[Made]:
    """A recovery to between the canaries does not come so far: is all of the log looked at nevertheless?"""
    scene = stage.scene
    victim = chance.choice(scene.segments(2))
    change = flip_that_tells(chance, _log)
    store = scene.repository.store
    with hidden(scene, *scene.known), noted(scene, *scene.hidden.middle), changed(store, victim.key, change):
        yield Made(stage.look(), (_name(victim),))


@contextmanager
def _tail_behind_all_canaries(stage: Stage, _chance: Random) -> Iterator[Made]:
    """Two canaries are behind the backup, and a later one is known whose commit is not in the log any more."""
    scene = stage.scene
    with noted(scene, *scene.hidden.middle), gone(scene.repository.store, scene.tail.key):
        yield Made(stage.look(), (scene.known[0].token,))


@contextmanager
def _tail_that_was_read(stage: Stage, _chance: Random) -> Iterator[Made]:
    """No canary tells of it; that it was there is known from having read it."""
    scene = stage.scene
    stage.look()()
    with hidden(scene, *scene.known), noted(scene, *scene.hidden.middle), gone(scene.repository.store, scene.tail.key):
        yield Made(stage.look(), ("its end has gone",))


def _becoming(content: bytes) -> Change:
    return lambda _was: content


def _history_object(scene: Scene) -> str:
    return scene.repository.layout.wal + history_key(2)


def _log(stored: bytes) -> bytes:
    return b"".join(decompress(Codec.ZSTD, [stored], "segment"))


def _name(piece: Piece) -> str:
    """The segment's name, as every sentence about it has it."""
    return piece.key.partition("/wal/")[2].partition("/")[2].partition(".")[0]
