"""Backups that break on the way: the bucket or PostgreSQL dies, falls silent, or finds its own data damaged."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from ops_workflows.backup.take import take_backup
from ops_workflows.errors import RefusedError
from ops_workflows.postgres.processes import wait_until
from ops_workflows.repository.catalogue import open_repository
from ops_workflows.repository.layout import RECORD
from ops_workflows.settings import Settings
from tests.support.bucket import backup_ids, backup_keys, is_clean, pending
from tests.support.command import Ended, as_environment, ops, ops_here, run
from tests.support.heard import Heard
from tests.support.proxy import Proxy, Requests, proxy_to
from tests.support.servers import ScratchServer, fill_with_noise, scratch_server

MEGABYTES = 40
PEAK_MEMORY = 150_000_000
AS_OF_A_TERABYTE = """
from itertools import islice
from ops_workflows.cli import main
from ops_workflows.storage import upload

sizes = upload.part_sizes  # from the last of the smallest ones on, so that some of the next size follow
upload.part_sizes = lambda expected: islice(sizes(10**12), 396, None) if expected else sizes(0)
main()
"""


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[ScratchServer]:
    with scratch_server() as made:
        fill_with_noise(made, MEGABYTES)
        yield made


@pytest.fixture
def own(server: ScratchServer, settings: Settings) -> Settings:
    return server.settings(settings, s3_attempts=2, s3_timeout_seconds=3, connect_timeout_seconds=5, stall_seconds=5)


@pytest.fixture
def bucket_proxy(own: Settings) -> Iterator[Proxy]:
    with proxy_to(own.require("s3_endpoint_url")) as proxy:
        yield proxy


@pytest.fixture
def database_proxy(server: ScratchServer) -> Iterator[Proxy]:
    with proxy_to(f"127.0.0.1:{server.server.port}") as proxy:
        yield proxy


def through_bucket(own: Settings, proxy: Proxy) -> Settings:
    return own.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{proxy.port}"})


def through_database(own: Settings, server: ScratchServer, proxy: Proxy) -> Settings:
    # In a process of its own: connecting holds Python's lock, and the proxy lives in ours.
    dsn = server.dsn(port=proxy.port, password=server.password("ops_backup"))
    return own.model_copy(update={"backup_dsn": SecretStr(dsn)})


def fails(settings: Settings, folder: Path, run: Callable[..., Ended] = ops_here) -> str:
    done = run(settings, folder, "backup")
    assert done.code == 1, done
    assert done.out == ""
    assert "Traceback" not in done.err
    return done.sentence


def recovers(own: Settings, server: ScratchServer) -> Heard:
    """The backup that failed does not exist, and the next one succeeds and leaves nothing of it."""
    assert not [key for key in backup_keys(own) if key.endswith(RECORD)]
    heard = Heard()
    backup = take_backup(own, heard)
    assert backup_ids(own, server.system) == [backup.id]
    assert {key.split("/")[-2] for key in backup_keys(own)} == {backup.id}
    assert pending(own) == []
    return heard


def test_s3_dies_in_the_middle_of_a_part(
    own: Settings, server: ScratchServer, bucket_proxy: Proxy, tmp_path: Path
) -> None:
    passed = 0

    def cut_after_ten_megabytes(chunk: bytes) -> None:
        nonlocal passed
        passed += len(chunk)
        if passed > 10_000_000:
            bucket_proxy.cut()

    bucket_proxy.before = cut_after_ten_megabytes
    said = fails(through_bucket(own, bucket_proxy), tmp_path)
    assert "Cannot store part" in said
    assert "base.tar.zst" in said
    assert "Is the S3 server there?" in said
    assert any("Aborted the orphaned upload" in said for said in recovers(own, server).sentences)


def test_s3_breaks_once_and_comes_back(
    own: Settings, server: ScratchServer, bucket_proxy: Proxy, tmp_path: Path
) -> None:
    def hiccup() -> None:
        bucket_proxy.cut()
        bucket_proxy.mend()

    requests = Requests(lambda said: "partNumber=3" in said, hiccup)
    bucket_proxy.before = requests.before
    done = ops_here(through_bucket(own, bucket_proxy), tmp_path, "backup")
    assert requests.acted
    assert done.code == 0, done
    assert len(backup_ids(own, server.system)) == 1


def test_s3_falls_silent(own: Settings, server: ScratchServer, bucket_proxy: Proxy, tmp_path: Path) -> None:
    requests = Requests(lambda said: "partNumber=2" in said, bucket_proxy.stall)
    bucket_proxy.before = requests.before
    hasty = own.model_copy(update={"s3_timeout_seconds": 1, "connect_timeout_seconds": 1})
    said = fails(through_bucket(hasty, bucket_proxy), tmp_path)
    assert "Cannot" in said
    assert "OPS_S3_ENDPOINT_URL" in said
    bucket_proxy.cut()
    recovers(own, server)


@pytest.mark.parametrize("call", ["rows.json", RECORD])
def test_s3_dies_at_one_of_the_last_calls(
    own: Settings, server: ScratchServer, bucket_proxy: Proxy, tmp_path: Path, call: str
) -> None:
    requests = Requests(lambda said: said.endswith(call), bucket_proxy.cut)
    bucket_proxy.before = requests.before
    said = fails(through_bucket(own, bucket_proxy), tmp_path)
    assert "Cannot store" in said
    assert call in said
    recovers(own, server)


def test_the_answer_to_the_record_is_lost_and_the_call_repeated(
    own: Settings, server: ScratchServer, bucket_proxy: Proxy, tmp_path: Path
) -> None:
    """The bucket has the record and says so to nobody: asked again, it says that there is one. It is ours."""

    def lose_the_answer() -> None:
        bucket_proxy.cut()
        bucket_proxy.mend()

    requests = Requests(lambda said: said.endswith(RECORD), lose_the_answer, answered=True)
    bucket_proxy.before, bucket_proxy.after = requests.before, requests.after
    done = ops_here(through_bucket(own, bucket_proxy), tmp_path, "backup")
    listed = backup_ids(own, server.system)
    names = {key.rpartition("/")[2] for key in backup_keys(own)}
    assert (done.code, len(listed)) == (0, 1), (done, names)
    assert {name.split(".")[0] for name in names} == {"backup", "rows", "backup_manifest", "base"}


def test_postgresql_is_killed(own: Settings, server: ScratchServer, database_proxy: Proxy, tmp_path: Path) -> None:
    def kill_the_sender(_chunk: bytes) -> None:
        if database_proxy.relayed > 5_000_000:
            for pid in senders(server):
                os.kill(pid, signal.SIGTERM)

    database_proxy.after = kill_the_sender
    said = fails(through_database(own, server, database_proxy), tmp_path, ops)
    assert "terminating connection due to administrator command" in said or "broke" in said
    assert is_clean(own)


def test_the_connection_to_postgresql_is_cut(
    own: Settings, server: ScratchServer, database_proxy: Proxy, tmp_path: Path
) -> None:
    database_proxy.after = lambda _: database_proxy.cut() if database_proxy.relayed > 5_000_000 else None
    said = fails(through_database(own, server, database_proxy), tmp_path, ops)
    assert f"The connection to PostgreSQL (ops_backup at 127.0.0.1:{database_proxy.port}) broke" in said
    assert is_clean(own)


def test_the_network_to_postgresql_is_cut_without_a_word(
    own: Settings, server: ScratchServer, database_proxy: Proxy, tmp_path: Path
) -> None:
    database_proxy.after = lambda _: database_proxy.stall() if database_proxy.relayed > 5_000_000 else None
    said = fails(through_database(own, server, database_proxy), tmp_path, ops)
    assert "has been silent for 5 s: given up" in said
    assert "OPS_STALL_SECONDS" in said
    assert is_clean(own)


def test_postgresql_is_stopped(own: Settings, server: ScratchServer, database_proxy: Proxy, tmp_path: Path) -> None:
    stopped: list[int] = []

    def stop_the_sender(_chunk: bytes) -> None:
        if database_proxy.relayed > 5_000_000 and not stopped:
            stopped.extend(process.pid for process in server.server.running_processes())
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)

    database_proxy.after = stop_the_sender
    try:
        said = fails(through_database(own, server, database_proxy), tmp_path, ops)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert stopped
    assert "has been silent for 5 s: given up" in said
    assert is_clean(own)
    recovers(own, server)


def test_the_server_is_gone_before_the_rows_are_counted(
    own: Settings, server: ScratchServer, database_proxy: Proxy, tmp_path: Path
) -> None:
    """All of the backup is in the bucket by then, and it may be the last there will ever be: kept, but not compared."""
    with proxy_to(own.require("s3_endpoint_url")) as bucket:
        done = Requests(lambda said: "backup_manifest?uploadId" in said and said.startswith("POST"), database_proxy.cut)
        bucket.before = done.before
        said = ops(through_bucket(through_database(own, server, database_proxy), bucket), tmp_path, "backup")
    assert done.acted
    assert said.code == 0, said
    assert "The rows of database postgres are not counted, so its restore is not compared" in " ".join(said.err.split())
    (kept,) = open_repository(own, server.system).backups()
    assert [stored.name.split(".")[0] for stored in kept.objects] == ["base", "backup_manifest"]


def test_two_backups_at_once(
    own: Settings, server: ScratchServer, tmp_path: Path, bucket_proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops_workflows.backup.lock._PATIENCE_SECONDS", 1)
    requests = Requests(lambda said: "partNumber=2" in said, bucket_proxy.stall)
    bucket_proxy.before = requests.before
    patient = through_bucket(own, bucket_proxy).model_copy(update={"s3_timeout_seconds": 30})
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(take_backup, patient)
        assert wait_until(lambda: requests.acted, 30)
        left = pending(own), backup_keys(own)
        with pytest.raises(RefusedError, match=r"running: process \d+ \(ops_workflows backup\) since"):
            take_backup(own)
        assert (pending(own), backup_keys(own)) == left  # the second did not take the first one's parts for debris
        bucket_proxy.mend()
        assert [first.result(60).id] == backup_ids(own, server.system)


def test_postgresql_finds_its_own_data_damaged(settings: Settings, tmp_path: Path) -> None:
    with scratch_server() as server:
        with server.connect() as connection:
            connection.execute("CREATE TABLE damaged AS SELECT n, repeat('x', 500) FROM generate_series(1, 1000) n")
            connection.execute("CHECKPOINT")
            (path,) = connection.execute("SELECT pg_relation_filepath('damaged')").fetchone() or ("",)
        server.server.stop()
        with (server.server.data_dir / path).open("r+b") as file:
            file.seek(3 * 8192 + 4000)
            file.write(b"\xff\x00\xff\x00")
        server.server.start()
        own = server.settings(settings)
        said = fails(own, tmp_path)
        assert "checksum verification fail" in said
        assert path in said
        assert is_clean(own)
        assert backup_ids(own, server.system) == []


@pytest.mark.parametrize("command", [("ops",), (sys.executable, "-c", AS_OF_A_TERABYTE)], ids=["small", "terabyte"])
def test_the_memory_that_a_backup_takes(own: Settings, tmp_path: Path, command: tuple[str, ...]) -> None:
    done = run(*command, "backup", folder=tmp_path, env=as_environment(own))
    assert done.code == 0, done
    assert 30_000_000 < done.peak_bytes < PEAK_MEMORY


def senders(server: ScratchServer) -> list[int]:
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender'").fetchall()
    return [pid for (pid,) in rows]
