"""What a person may type, or have in place, that cannot work: a sentence, never a traceback, and nothing begun."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from ops_workflows.settings import Settings
from tests.support.command import Ended, ops_here


def refused(folder: Path, *typed: str, code: int = 1, **settings: object) -> str:
    done: Ended = ops_here(Settings().model_copy(update=settings), folder, *typed)
    assert (done.code, done.out) == (code, ""), done
    assert list(folder.iterdir()) == []
    return done.sentence


@pytest.mark.parametrize("option", ["--backup", "--target-dir", "--to", "--from", "--system"])
@pytest.mark.parametrize("where", ["--in-place", "--target-dir=data"])
def test_an_empty_word_is_not_taken_for_none(tmp_path: Path, option: str, where: str) -> None:
    assert f"{option} is empty: give it a value" in refused(tmp_path, "restore", where, option, "")


def test_a_target_without_a_name(tmp_path: Path) -> None:
    assert "--target-dir / has no name" in refused(tmp_path, "restore", "--target-dir", "/")


@pytest.mark.parametrize("option", ["--rate", "--seconds"])
@pytest.mark.parametrize("number", ["nan", "inf", "-1", "0"])
def test_traffic_without_end_or_measure(tmp_path: Path, option: str, number: str) -> None:
    assert "numbers above zero" in refused(tmp_path, "traffic", f"{option}={number}")


@pytest.mark.parametrize("number", ["nan", "inf", "-1"])
def test_dev_without_measure(tmp_path: Path, number: str) -> None:
    assert "a number above zero, or zero for none" in refused(tmp_path, "dev", f"--rate={number}")


@pytest.mark.parametrize("port", ["0", "65536", "99999999"])
def test_dev_on_a_port_that_there_is_not(tmp_path: Path, port: str) -> None:
    assert "Invalid value for '--port'" in refused(tmp_path, "dev", "--port", port, code=2)


def test_seed_at_no_time(tmp_path: Path) -> None:
    assert "--base 'yesterday' is no time" in refused(tmp_path, "seed", "--base", "yesterday")


@pytest.mark.parametrize("command", ["goto", "force", "baseline"])
def test_the_version_before_the_first_is_a_number_and_an_unknown_option_is_not(tmp_path: Path, command: str) -> None:
    assert "OPS_OWNER_DSN" in refused(tmp_path, "migrate", command, "-1", owner_dsn=None)
    for unknown in (["--unknown"], ["-1", "--unknown"], ["1", "-u"]):
        refused(tmp_path, "migrate", command, *unknown, code=2, owner_dsn=None)


def test_what_the_operating_system_refuses_is_a_sentence_with_its_path(tmp_path: Path) -> None:
    name = "/" + "x" * 300
    nowhere = SecretStr("postgresql://x@127.0.0.1:1/x")
    said = refused(tmp_path, "migrate", "status", owner_dsn=nowhere, migrations_dir=Path(name))
    assert name in said
    assert "File name too long" in said
