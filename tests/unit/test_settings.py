import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from ops_workflows.errors import ConfigurationError
from ops_workflows.settings import Settings, dotenv, environment
from tests.support.nobody import as_nobody
from tests.support.servers import reachable_folder


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"OPS_{name.upper()}", raising=False)
    monkeypatch.delenv("OPS_SECRETS_DIR", raising=False)


def test_the_environment_wins_over_the_file_and_the_file_over_the_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "OPS_S3_BUCKET").write_text("of-secrets")
    (secrets / "OPS_S3_SECRET_ACCESS_KEY").write_text("hidden\n")
    (tmp_path / ".env").write_text(f"OPS_SECRETS_DIR='{secrets}'\n")
    assert Settings.read(tmp_path).s3_bucket == "of-secrets"
    assert Settings.read(tmp_path).require("s3_secret_access_key") == "hidden"
    (tmp_path / ".env").write_text(f"OPS_SECRETS_DIR='{secrets}'\nOPS_S3_BUCKET=of-file\n")
    assert Settings.read(tmp_path).s3_bucket == "of-file"
    monkeypatch.setenv("OPS_S3_BUCKET", "of-environment")
    assert Settings.read(tmp_path).s3_bucket == "of-environment"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPS_S3_THREADS", "hunter2"),
        ("OPS_S3_THREADS", "0"),
        ("OPS_BACKUP_CODEC", "hunter2"),
        ("OPS_STALL_SECONDS", "-1"),
        *(
            (f"OPS_{name}", value)
            for name in (
                "PRUNE_UNEXPIRING_DAYS",
                "PRUNE_MOST_SECONDS",
                "PRUNE_MOST_CANARY_MS",
                "PRUNE_MOST_LAG_SECONDS",
                "REDIS_STALE_DAYS",
                "REDIS_MOST_SECONDS",
            )
            for value in ("inf", "nan", "1e300", "10000000000")
        ),
        ("OPS_REDIS_EXPIRY_SECONDS", "1" + "0" * 18),
    ],
)
def test_a_value_that_cannot_be_right_is_named_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"{name} cannot be used") as caught:
        Settings.read(tmp_path)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", [".env", "OPS_S3_BUCKET"])
def test_a_file_that_is_no_text_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("OPS_SECRETS_DIR", str(tmp_path))
    (tmp_path / name).write_bytes(b"OPS_S3_BUCKET=hunter2\xff\n")
    with pytest.raises(ConfigurationError, match=f"{tmp_path}.* is no text in UTF-8") as caught:
        Settings.read(tmp_path)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", [".env", "OPS_S3_BUCKET"])
def test_a_file_that_may_not_be_read_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with reachable_folder() as folder:
        folder.chmod(0o755)
        (folder / name).touch(mode=0o600 if os.geteuid() == 0 else 0o000)
        monkeypatch.setenv("OPS_SECRETS_DIR", str(folder))
        said = as_nobody(lambda: Settings.read(folder))
        assert f"{folder}/{name} cannot be read (Permission denied)" in said


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ConfigurationError, match="OPS_BACKUP_DSN is not set"):
        Settings().require("backup_dsn")


def test_secrets_do_not_print_themselves() -> None:
    made = Settings(backup_dsn=SecretStr("postgresql://x:hunter2@y/z"), s3_secret_access_key=SecretStr("hunter2"))
    assert "hunter2" not in f"{made!r} {made}"


def test_slashes_of_the_prefix_do_not_matter() -> None:
    assert Settings(s3_prefix="/a/b/").s3_prefix == "a/b"


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_the_environment_of_a_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PGPASSWORD", "x")
    assert "PGPASSWORD" not in environment()
    assert environment(A="1")["A"] == "1"
    (tmp_path / ".env").write_text("A=1\nB\n")
    assert dotenv(tmp_path) == {"A": "1"}
