"""The rungs notice what is wrong with a backup, name it, and write it down in the bucket."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from ops_workflows.backup.take import take_backup
from ops_workflows.errors import StorageError
from ops_workflows.proof.rungs import Climb
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.layout import ROWS
from ops_workflows.repository.proofs import newest, proofs
from ops_workflows.repository.rungs import Rung
from ops_workflows.settings import Settings
from tests.support.bucket import change, flipped, named, put_back
from tests.support.ladder import climb
from tests.support.servers import fill_with_noise, free_port, scratch_server

Json = dict[str, object]


@dataclass(frozen=True)
class Taken:
    """A backup of a small server that is at rest."""

    settings: Settings
    repository: Repository
    backup: Backup

    def climb(self, rung: Rung) -> Climb:
        return climb(rung, self.settings, self.repository, self.backup)

    @contextmanager
    def changed(self, name: str, how: Callable[[bytes], bytes]) -> Iterator[str]:
        key = self.repository.layout.backup(self.backup.id, named(self.backup, name))
        before = self.repository.store.get(key)
        change(self.repository, key, how)
        try:
            yield key
        finally:
            put_back(self.repository, key, before)

    @contextmanager
    def expecting(self, how: Callable[[Json], None]) -> Iterator[None]:
        """With other rows or another schema expected than the source had."""

        def falsified(content: bytes) -> bytes:
            record = json.loads(content)
            how(record)
            return json.dumps(record).encode()

        with self.changed(ROWS, falsified):
            yield


@pytest.fixture(scope="module")
def taken(settings: Settings) -> Iterator[Taken]:
    with scratch_server() as server:
        fill_with_noise(server, 10)
        with server.connect() as connection:
            connection.execute("CREATE TABLE counted AS SELECT n FROM generate_series(1, 1234) n")
            connection.execute("CREATE VIEW looking AS SELECT n FROM counted")
        own = server.settings(settings, s3_attempts=1, s3_timeout_seconds=3, connect_timeout_seconds=3)
        yield Taken(own, open_repository(own, server.system), take_backup(own))


def test_what_is_whole_passes_and_is_written_down(taken: Taken) -> None:
    for rung in (Rung.STORED, Rung.CHECKSUMMED, Rung.BOOTED):
        assert taken.climb(rung).passed
    shown = newest(taken.repository, [taken.backup.id])[taken.backup.id]
    assert {what: proof.passed for what, proof in shown.items()} == dict.fromkeys(
        ["stored", "checksummed", "booted"], True
    )
    assert shown["booted"].evidence["compared"] == "exactly"


@pytest.mark.parametrize(
    ("name", "how", "fails"),
    [
        ("base.tar", flipped, (Rung.STORED, Rung.CHECKSUMMED, Rung.BOOTED)),
        ("base.tar", lambda content: content[:-1], (Rung.STORED, Rung.CHECKSUMMED, Rung.BOOTED)),
        ("base.tar", lambda _: b"", (Rung.STORED, Rung.CHECKSUMMED, Rung.BOOTED)),
        ("backup_manifest", flipped, (Rung.STORED, Rung.CHECKSUMMED, Rung.BOOTED)),
    ],
    ids=["one-bit", "truncated", "empty", "manifest"],
)
def test_a_damaged_object_is_named(
    taken: Taken, name: str, how: Callable[[bytes], bytes], fails: tuple[Rung, ...]
) -> None:
    with taken.changed(name, how):
        for rung in fails:
            done = taken.climb(rung)
            assert not done.passed, rung
            assert name in done.finding, (rung, done.finding)
            assert not newest(taken.repository, [taken.backup.id])[taken.backup.id][rung].passed


def test_a_missing_object_is_named(taken: Taken) -> None:
    key = taken.repository.layout.backup(taken.backup.id, named(taken.backup, "base.tar"))
    before = taken.repository.store.get(key)
    taken.repository.store.delete([key])
    try:
        for rung in (Rung.STORED, Rung.CHECKSUMMED, Rung.BOOTED):
            done = taken.climb(rung)
            assert not done.passed
            assert "base.tar" in done.finding
            assert "missing" in done.finding
    finally:
        put_back(taken.repository, key, before)


def add_a_row(record: Json) -> None:
    table(record)["rows"] += 1


def lose_a_row(record: Json) -> None:
    table(record)["rows"] -= 1


def table(record: Json) -> dict[str, int]:
    tables: list[dict[str, int]] = record["tables"]  # type: ignore[assignment]
    return next(each for each in tables if "public.counted" in each.values())  # type: ignore[comparison-overlap]


def schema(record: Json) -> dict[str, str]:
    schemas: dict[str, dict[str, str]] = record["schemas"]  # type: ignore[assignment]
    return schemas["postgres"]


def with_object(name: str) -> Callable[[Json], None]:
    return lambda record: schema(record).update({name: "0"})


def without_object(name: str) -> Callable[[Json], object]:
    return lambda record: schema(record).pop(name)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (add_a_row, "public.counted of postgres has 1,234 rows and not 1,235"),
        (lose_a_row, "public.counted of postgres has 1,234 rows and not 1,233"),
        (with_object("relation public.looking"), "relation public.looking of postgres differs"),
        (with_object("relation public.lost"), "relation public.lost of postgres is missing"),
        (without_object("relation public.looking"), "relation public.looking of postgres is unexpected"),
        (lambda record: record["schemas"].update({"lost": {}}), "database lost is missing"),  # type: ignore[attr-defined]
    ],
    ids=["row-lost", "row-too-many", "view-differs", "table-lost", "view-unexpected", "database-lost"],
)  # fmt: skip
def test_what_does_not_come_back_as_it_was_is_named(taken: Taken, how: Callable[[Json], None], says: str) -> None:
    record = taken.repository.rows(taken.backup)
    assert record is not None
    assert record.exact
    with taken.expecting(how):
        done = taken.climb(Rung.BOOTED)
    assert not done.passed
    assert says in done.finding


def test_from_below_one_row_more_is_no_fault_and_one_less_is(taken: Taken) -> None:
    def not_exact(record: Json, more: int) -> None:
        record["exact"] = False
        table(record)["rows"] += more

    with taken.expecting(lambda record: not_exact(record, -1)):
        assert taken.climb(Rung.BOOTED).passed
    with taken.expecting(lambda record: not_exact(record, 1)):
        done = taken.climb(Rung.BOOTED)
    assert not done.passed
    assert "has 1,234 rows and not at least 1,235" in done.finding


def test_a_bucket_that_does_not_answer_is_an_error_and_no_proof(taken: Taken) -> None:
    gone = taken.settings.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{free_port()}"})
    repository = open_repository(gone, taken.repository.layout.system)
    before = len(proofs(taken.repository, taken.backup.id))
    for rung in (Rung.STORED, Rung.CHECKSUMMED, Rung.BOOTED):
        with pytest.raises(StorageError, match="Is the S3 server there"):
            climb(rung, gone, repository, taken.backup)
    assert len(proofs(taken.repository, taken.backup.id)) == before


def test_nothing_of_a_check_is_left(taken: Taken) -> None:
    assert not any(taken.settings.scratch.iterdir())
