"""A backup that is killed or interrupted at any moment: it never exists, and the next one clears away what it left."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from ops_workflows.backup.take import take_backup
from ops_workflows.repository.layout import RECORD
from ops_workflows.settings import Settings
from tests.support.bucket import backup_ids, backup_keys, is_clean, pending
from tests.support.command import as_environment, ended, started
from tests.support.heard import Heard
from tests.support.killing import Ending, ended_at
from tests.support.proxy import nth, proxy_to
from tests.support.servers import ScratchServer, fill_with_noise, scratch_server

MEGABYTES = 24  # that no codec makes smaller: several parts


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[ScratchServer]:
    with scratch_server() as made:
        fill_with_noise(made, MEGABYTES)
        yield made


def is_listed_never(settings: Settings, system: str) -> bool:
    return not backup_ids(settings, system) and not any(key.endswith(RECORD) for key in backup_keys(settings))


@pytest.fixture(scope="module")
def calls(server: ScratchServer, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The S3 calls of a backup that nothing happens to."""
    own = server.settings(settings)
    done = ended_at(own, tmp_path_factory.mktemp("whole"), lambda _: False, "ops", "backup")
    assert len([call for call in done.seen if "partNumber" in call]) >= 4
    return done.seen


@pytest.fixture(scope="module")
def system(server: ScratchServer) -> str:
    return server.system


def test_killed_at_every_call_to_the_bucket(
    server: ScratchServer, settings: Settings, tmp_path: Path, calls: tuple[str, ...], system: str
) -> None:
    """Before the call arrives; what the one before it has done is done."""
    own = server.settings(settings)
    assert len(calls) >= 12
    for moment in range(len(calls)):
        done = ended_at(own, tmp_path, nth(moment), "ops", "backup")
        assert done.acted, (moment, done)
        assert is_listed_never(own, system), (moment, done)
    left, uploads = backup_keys(own), pending(own)
    assert left  # or this test shows nothing
    heard = Heard()
    backup = take_backup(own, heard)
    assert backup_ids(own, system) == [backup.id]
    assert {key.split("/")[-2] for key in backup_keys(own)} == {backup.id}
    assert pending(own) == []
    for key in uploads:
        assert any(f"Aborted the orphaned upload of {key}" in said for said in heard.sentences), key
    assert {f"Removed {key}: its backup was never finished." for key in left} <= set(heard.sentences)


@pytest.mark.parametrize("call", ["partNumber=2", "POST", "rows.json"])
def test_killed_when_the_bucket_has_done_what_was_asked(
    server: ScratchServer, settings: Settings, tmp_path: Path, system: str, call: str
) -> None:
    own = server.settings(settings)
    done = ended_at(own, tmp_path, lambda said: call in said, "ops", "backup", answered=True)
    assert done.acted, done
    assert is_listed_never(own, system)
    heard = Heard()
    backup = take_backup(own, heard)
    assert heard.sentences
    assert backup_ids(own, system) == [backup.id]
    assert {key.split("/")[-2] for key in backup_keys(own)} == {backup.id}
    assert pending(own) == []


def test_killed_when_the_record_is_in_the_bucket(
    server: ScratchServer, settings: Settings, tmp_path: Path, system: str
) -> None:
    own = server.settings(settings)
    assert ended_at(own, tmp_path, lambda said: said.endswith(RECORD), "ops", "backup", answered=True).acted
    (whole,) = backup_ids(own, system)  # the last thing had been done: this backup exists, and stays
    heard = Heard()
    later = take_backup(own, heard)
    assert not [said for said in heard.sentences if said.startswith(("Removed", "Aborted"))]
    assert backup_ids(own, system) == [whole, later.id]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("call", ["uploads", "partNumber=2", "rows.json", "backup.json"])
def test_interrupted(  # noqa: PLR0917
    server: ScratchServer, settings: Settings, tmp_path: Path, number: signal.Signals, call: str, system: str
) -> None:
    own = server.settings(settings)
    done = ended_at(own, tmp_path, lambda said: call in said, "ops", "backup", number=number)
    assert done.acted
    assert done.code == 128 + number
    assert "ops: interrupted." in done.err
    assert "Traceback" not in done.err
    assert is_clean(own)


def test_killed_while_postgresql_still_sends(
    server: ScratchServer, settings: Settings, tmp_path: Path, system: str
) -> None:
    own = server.settings(settings)
    for megabytes in (0, 1, 5, 20):
        ending = Ending()
        with proxy_to(f"127.0.0.1:{server.server.port}") as proxy:

            def watch(_chunk: bytes, limit: int = megabytes * 1_000_000) -> None:
                if proxy.relayed >= limit and ending.process is not None and ending.process.poll() is None:  # noqa: B023
                    ending()  # noqa: B023

            proxy.after = watch
            through = SecretStr(server.dsn(port=proxy.port, password=server.password("ops_backup")))
            env = as_environment(own.model_copy(update={"backup_dsn": through}))
            with started("ops", "backup", folder=tmp_path, env=env) as process:
                ending.process = process
                assert ended(process).code == -signal.SIGKILL
        assert is_listed_never(own, system)
    backup = take_backup(own)
    assert backup_ids(own, system) == [backup.id]
    assert pending(own) == []
