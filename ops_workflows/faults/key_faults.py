"""Faults of keys: missing, wrong, lost when they were rotated; and what only a key can tell."""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

from ops_workflows.faults import forge
from ops_workflows.faults.kinds import Fault, Made
from ops_workflows.faults.look import BackupLook
from ops_workflows.faults.sealed import Sealed
from ops_workflows.faults.stage import Stage
from ops_workflows.faults.tamper import changed
from ops_workflows.repository.reach import read_listing
from ops_workflows.repository.rungs import Rung
from ops_workflows.settings import Settings
from ops_workflows.storage.encryption import Keys, public_keys

_FAMILY = "key"


def faults() -> list[Fault]:
    """All of them."""
    return [
        Fault("key: missing", _FAMILY, Rung.CHECKSUMMED, _missing),
        Fault("key: its file is gone", _FAMILY, Rung.CHECKSUMMED, _file_gone),
        Fault("key: of somebody else", _FAMILY, Rung.CHECKSUMMED, _wrong, fast=True),
        Fault("key: rotated, the old one lost", _FAMILY, Rung.CHECKSUMMED, _rotated),
        Fault("key: its file holds none", _FAMILY, Rung.CHECKSUMMED, _no_key),
        Fault("encrypted archive: a bit flipped, the record fits", _FAMILY, Rung.CHECKSUMMED, _altered),
        Fault("encrypted archive: not encrypted, the record fits", _FAMILY, Rung.CHECKSUMMED, _plain),
        Fault("encrypted segment: encrypted to somebody else", _FAMILY, Rung.EXACT, _foreign_segment),
    ]


def look(stage: Stage, settings: Settings) -> BackupLook:
    """A look at the encrypted backup with these settings."""
    backup = stage.sealed.backup
    return BackupLook(settings, backup.system, backup.id, stage.progress)


@contextmanager
def _missing(stage: Stage, _chance: Random) -> Iterator[Made]:
    yield Made(look(stage, stage.sealed.settings(None)), ("OPS_AGE_IDENTITY_FILE", stage.sealed.backup.id))


@contextmanager
def _file_gone(stage: Stage, _chance: Random) -> Iterator[Made]:
    yield Made(look(stage, stage.sealed.settings("gone")), ("OPS_AGE_IDENTITY_FILE", "gone"))


@contextmanager
def _wrong(stage: Stage, _chance: Random) -> Iterator[Made]:
    yield Made(look(stage, stage.sealed.settings("second")), (stage.sealed.backup.id, "second"))


@contextmanager
def _rotated(stage: Stage, _chance: Random) -> Iterator[Made]:
    yield Made(look(stage, stage.sealed.settings("second", "second")), (stage.sealed.backup.id, "second"))


@contextmanager
def _no_key(stage: Stage, _chance: Random) -> Iterator[Made]:
    file = stage.sealed.folder / "empty"
    file.write_text("# nothing\n")
    yield Made(look(stage, stage.sealed.settings("empty")), ("OPS_AGE_IDENTITY_FILE", "empty"))


@contextmanager
def _altered(stage: Stage, chance: Random) -> Iterator[Made]:
    name, content = _archive(stage.sealed)
    at = chance.randrange(len(content) // 2, len(content))
    content[at] ^= 1 << chance.randrange(8)
    with forge.forged(stage.sealed.source.repository, stage.sealed.backup, {name: bytes(content)}):
        yield Made(look(stage, stage.sealed.settings("first")), (name,))


@contextmanager
def _plain(stage: Stage, _chance: Random) -> Iterator[Made]:
    name, content = _archive(stage.sealed)
    plain = stage.sealed.source.repository.keys.open(bytes(content), name)
    with forge.forged(stage.sealed.source.repository, stage.sealed.backup, {name: plain}):
        yield Made(look(stage, stage.sealed.settings("first")), (name,))


@contextmanager
def _foreign_segment(stage: Stage, chance: Random) -> Iterator[Made]:
    sealed = stage.sealed
    repository, backup = sealed.source.repository, sealed.backup
    listing, _ = read_listing(repository, backup.wal_segment_bytes)
    behind = [piece for piece in listing.pieces if piece.start >= backup.stop_lsn]
    victim = chance.choice(behind)
    theirs = Keys(tuple(public_keys(sealed.folder / "second")))
    plain = repository.keys.open(repository.store.get(victim.key), victim.key)
    with changed(repository.store, victim.key, lambda _was: theirs.seal(plain)):
        yield Made(look(stage, sealed.settings("first")), (victim.key.rpartition("/wal/")[2],))


def _archive(sealed: Sealed) -> tuple[str, bytearray]:
    name = sealed.backup.archives()[0].name
    repository = sealed.source.repository
    return name, bytearray(repository.store.get(repository.layout.backup(sealed.backup.id, name)))
