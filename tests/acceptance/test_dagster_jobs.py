"""The jobs by `dagster job execute`, as a person or cron starts them: exit codes, checks, evidence, and no secret."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import dagster as dg
import psutil
import psycopg
import pytest
from dotenv import dotenv_values

from tests.acceptance.conftest import Installation
from tests.support.command import ended, started

RUNGS = {"stored", "checksummed", "booted"}


@pytest.fixture(scope="module")
def nightly(installation: Installation) -> Installation:
    """After a night."""
    done = installation.job("nightly_backup")
    assert done.code == 0, done.err[-3000:]
    return installation


@contextmanager
def memory_of(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """What Dagster remembers."""
    for name, value in dotenv_values(installation.folder / ".env").items():
        monkeypatch.setenv(name, value or "")
    monkeypatch.chdir(installation.folder)
    with dg.DagsterInstance.from_config(str(installation.folder)) as instance:
        yield instance


def test_the_night_leaves_figures_and_evidence(nightly: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    with memory_of(nightly, monkeypatch) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("base_backup"))
        assert event is not None
        assert event.asset_materialization is not None
        figures = event.asset_materialization.metadata
        assert figures["database_bytes"].value > 0  # type: ignore[operator]
        assert figures["stored_bytes"].value > 0  # type: ignore[operator]
        assert figures["seconds"].value > 0  # type: ignore[operator]
        backup_id = figures["backup_id"].value
        for rung in RUNGS:
            key = dg.AssetCheckKey(dg.AssetKey("base_backup"), rung)
            (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
            assert record.event is not None
            check = record.event.asset_check_evaluation
            assert check is not None
            assert check.passed
            assert check.description
            assert check.metadata["backup_id"].value == backup_id
    listed = json.loads(nightly.ops("backups", "--json").out)
    (backup,) = [each for each in listed if each["id"] == backup_id]
    assert {proof["what"] for proof in backup["proofs"] if proof["passed"]} >= RUNGS


def test_a_drill_within_the_objectives(nightly: Installation) -> None:
    done = nightly.job("restore_drill")
    assert done.code == 0, done.err[-3000:]
    assert "s measured, 900 s promised" in done.err


def test_a_drill_that_misses_an_objective(nightly: Installation) -> None:
    done = nightly.job("restore_drill", OPS_RPO_OBJECTIVE_SECONDS="1")
    assert done.code == 1
    assert "1 s promised" in done.err
    assert not any(nightly.settings.scratch.iterdir())


def test_a_night_without_a_bucket(nightly: Installation) -> None:
    # Dagster's own reading of .env wins over the environment, so the line goes there.
    env_file = nightly.folder / ".env"
    before = env_file.read_text()
    env_file.write_text(before + "OPS_S3_BUCKET=not-there\n")
    try:
        done = nightly.job("nightly_backup")
    finally:
        env_file.write_text(before)
    assert done.code == 1
    assert "OPS_S3_BUCKET" in done.err
    secrets = set(json.loads((nightly.folder / ".ops/secrets/passwords.json").read_text()).values())
    assert not [word for word in secrets if word in done.err + done.out]


def test_no_secret_is_anywhere_to_be_read(nightly: Installation) -> None:
    words = json.loads((nightly.folder / ".ops/secrets/passwords.json").read_text())
    # The id of a key is a name, which S3 servers repeat as such; the key that belongs to it is the secret.
    secrets = {name: word for name, word in words.items() if name != "s3_access_key_id"}
    seen: list[str] = []
    with started("ops", "backup", folder=nightly.folder) as process:
        while process.poll() is None:
            for each in psutil.process_iter():
                with suppress(psutil.Error):
                    seen.append("\0".join(each.cmdline()))
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
        done = ended(process)
    assert done.code == 0, done
    failing = [
        nightly.ops("backup", OPS_S3_BUCKET="not-there"),
        nightly.ops("backup", OPS_S3_ENDPOINT_URL="http://127.0.0.1:1", OPS_S3_ATTEMPTS="1"),
        nightly.ops("drill", OPS_PG_BIN_DIR="/nowhere"),
    ]
    assert [each.code for each in failing] == [1, 1, 1]
    said = [text for each in (done, *failing) for text in (each.out, each.err)]
    url = dotenv_values(nightly.folder / ".env")["OPS_DAGSTER_DATABASE_URL"]
    with psycopg.connect(url or "") as memory:
        events = [event for (event,) in memory.execute("SELECT event FROM event_logs").fetchall()]
        runs = [body for (body,) in memory.execute("SELECT run_body FROM runs").fetchall()]
    assert events
    logs = [path.read_text(errors="replace") for path in (nightly.folder / ".ops/logs").iterdir() if path.is_file()]
    kept = [path.read_text(errors="replace") for path in (nightly.folder / ".ops/dagster").rglob("*") if path.is_file()]
    public = "\n".join([*seen, *said, *events, *runs, *logs, *kept, (nightly.folder / ".env").read_text()])
    assert [name for name, word in secrets.items() if word in public] == []
