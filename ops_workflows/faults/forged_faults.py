"""Faults of what is in a backup, where every record fits: rows, schema, and files that are not what they were."""

import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from ops_workflows.faults import forge
from ops_workflows.faults.kinds import Fault, Made
from ops_workflows.faults.stage import Stage
from ops_workflows.repository.layout import MANIFEST, ROWS
from ops_workflows.repository.rungs import Rung

_FAMILY = "content"
_PAGE = 8192
Json = dict[str, object]


def faults() -> list[Fault]:
    """All of them."""
    return [
        _expecting("rows: one lost", _a_row_more, "public.items of postgres has"),
        _expecting("rows: one too many", _a_row_less, "public.items of postgres has"),
        _expecting("table: lost", _another_table, "public.lost of postgres is missing", fast=True),
        _expecting("schema: an index lost", _another_index, "index public.lost on public.items of postgres is missing"),
        _expecting("schema: a view differs", _another_view, "relation public.named of postgres differs"),
        _expecting("schema: a view too many", _no_view, "relation public.named of postgres is unexpected"),
        _expecting("database: lost", _another_database, "database lost is missing"),
        Fault("file in the archive: a byte altered", _FAMILY, Rung.CHECKSUMMED, _altered_file, fast=True),
        Fault("file in the archive: missing", _FAMILY, Rung.CHECKSUMMED, _missing_file),
        Fault("file in the archive: missing, and in the manifest", _FAMILY, Rung.BOOTED, _missing_everywhere),
        Fault("file in the archive: altered, and in the manifest", _FAMILY, Rung.BOOTED, _altered_everywhere),
        Fault("archive: cut between two files", _FAMILY, Rung.CHECKSUMMED, _cut),
        Fault("manifest: altered, its own checksum is not", _FAMILY, Rung.CHECKSUMMED, _altered_manifest),
        Fault("parent's file: a byte altered", _FAMILY, Rung.RESTORED, _altered_parent),
    ]


def _expecting(kind: str, change: Callable[[Json], None], word: str, *, fast: bool = False) -> Fault:
    @contextmanager
    def make(stage: Stage, _chance: Random) -> Iterator[Made]:
        repository, backup = stage.scene.repository, stage.scene.backup
        record = json.loads(repository.store.get(repository.layout.backup(backup.id, ROWS)))
        change(record)
        with forge.forged(repository, backup, {ROWS: json.dumps(record).encode()}):
            yield Made(stage.look(), (word,))

    return Fault(kind, _FAMILY, Rung.BOOTED, make, fast)


def _a_row_more(record: Json) -> None:
    _items(record)["rows"] += 1


def _a_row_less(record: Json) -> None:
    _items(record)["rows"] -= 1


def _another_table(record: Json) -> None:
    tables: list[Json] = record["tables"]  # type: ignore[assignment]  # JSON of a known shape
    tables.append({"database": "postgres", "table": "public.lost", "rows": 1})


def _another_index(record: Json) -> None:
    _schema(record)["index public.lost on public.items"] = "0" * 16


def _another_view(record: Json) -> None:
    _schema(record)["relation public.named"] = "0" * 16


def _no_view(record: Json) -> None:
    del _schema(record)["relation public.named"]


def _another_database(record: Json) -> None:
    schemas: dict[str, Json] = record["schemas"]  # type: ignore[assignment]  # JSON of a known shape
    schemas["lost"] = {}


def _items(record: Json) -> dict[str, int]:
    tables: list[dict[str, int]] = record["tables"]  # type: ignore[assignment]  # JSON of a known shape
    return next(each for each in tables if "public.items" in each.values())  # type: ignore[comparison-overlap]  # JSON of a known shape


def _schema(record: Json) -> dict[str, str]:
    schemas: dict[str, dict[str, str]] = record["schemas"]  # type: ignore[assignment]  # JSON of a known shape
    return schemas["postgres"]


@contextmanager
def _altered_file(stage: Stage, chance: Random) -> Iterator[Made]:
    repository, backup = stage.scene.repository, stage.scene.backup
    content = forge.archive(repository, backup)
    victim = forge.member(content, _is_page_file(stage))
    content[victim.offset_data + chance.randrange(victim.size)] ^= 1 << chance.randrange(8)
    with forge.forged(repository, backup, forge.packed(backup, content)):
        yield Made(stage.look(), (victim.name,))


@contextmanager
def _missing_file(stage: Stage, _chance: Random) -> Iterator[Made]:
    repository, backup = stage.scene.repository, stage.scene.backup
    content = forge.archive(repository, backup)
    victim = forge.member(content, _is_page_file(stage))
    with forge.forged(repository, backup, forge.packed(backup, forge.without(content, victim))):
        yield Made(stage.look(), (victim.name,))


@contextmanager
def _missing_everywhere(stage: Stage, _chance: Random) -> Iterator[Made]:
    repository, backup = stage.scene.repository, stage.scene.backup
    content = forge.archive(repository, backup)
    victim = forge.member(content, _is_page_file(stage))
    told = forge.manifest_with(forge.manifest(repository, backup), victim.name, None)
    altered = forge.packed(backup, forge.without(content, victim)) | {MANIFEST: told}
    with forge.forged(repository, backup, altered):
        yield Made(stage.look(), ("public.items",))


@contextmanager
def _altered_everywhere(stage: Stage, chance: Random) -> Iterator[Made]:
    """Only the page's own checksum is left to tell."""
    repository, backup = stage.scene.repository, stage.scene.backup
    content = forge.archive(repository, backup)
    victim = forge.member(content, _is_page_file(stage))
    page = chance.randrange(victim.size // _PAGE)
    content[victim.offset_data + page * _PAGE + chance.randrange(_PAGE // 2, _PAGE)] ^= 1 << chance.randrange(8)
    body = bytes(content[victim.offset_data : victim.offset_data + victim.size])
    told = forge.manifest_with(forge.manifest(repository, backup), victim.name, body)
    with forge.forged(repository, backup, forge.packed(backup, content) | {MANIFEST: told}):
        yield Made(stage.look(), ("public.items",))


@contextmanager
def _cut(stage: Stage, _chance: Random) -> Iterator[Made]:
    """The tar ends early and well: what is missing is known from the manifest alone."""
    repository, backup = stage.scene.repository, stage.scene.backup
    content = forge.archive(repository, backup)
    victim = forge.member(content, _is_page_file(stage))
    cut = content[: victim.offset] + bytes(2 * tarfile.BLOCKSIZE)
    with forge.forged(repository, backup, forge.packed(backup, cut)):
        yield Made(stage.look(), ("manifest", backup.id))


@contextmanager
def _altered_manifest(stage: Stage, chance: Random) -> Iterator[Made]:
    repository, backup = stage.scene.repository, stage.scene.backup
    content = bytearray(forge.manifest(repository, backup))
    content[chance.randrange(len(content) // 2)] ^= 1
    with forge.forged(repository, backup, {MANIFEST: bytes(content)}):
        yield Made(stage.look(), (MANIFEST,))


@contextmanager
def _altered_parent(stage: Stage, chance: Random) -> Iterator[Made]:
    """The parent's record fits its archive, and pg_combinebackup would take it as it is: pg_verifybackup must not."""
    repository, parent = stage.scene.repository, stage.scene.backup
    content = forge.archive(repository, parent)
    victim = forge.member(content, _is_page_file(stage))
    content[victim.offset_data + chance.randrange(victim.size)] ^= 1 << chance.randrange(8)
    with forge.forged(repository, parent, forge.packed(parent, content)):
        yield Made(stage.look(stage.scene.incremental), (victim.name,))


def _is_page_file(stage: Stage) -> Callable[[tarfile.TarInfo], bool]:
    """The table `items`."""
    with stage.scene.source.connected() as connection:
        row = connection.execute("SELECT pg_relation_filepath('public.items')").fetchone()
    path = str(row and row[0])
    return lambda found: found.name == path
