"""Finding programs, running them, and knowing processes; no service is started for it."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from ops_workflows.errors import ConfigurationError, DatabaseError
from ops_workflows.postgres.account import can_reach, server_account
from ops_workflows.postgres.processes import launch, send, standing_in, wait_until
from ops_workflows.postgres.programs import Programs, find_programs, run
from ops_workflows.postgres.server import DataDirectory, Server

SHELL = Path("/bin/sh")


def test_the_bundled_programs_are_found_and_can_be_run_by_the_servers_account() -> None:
    programs = find_programs(None)
    assert can_reach(programs.path("postgres"), server_account("nobody"))
    assert f"(PostgreSQL) {programs.major}" in run(programs.path("pg_verifybackup"), "--version", timeout=10)


def test_a_major_version_that_is_not_there() -> None:
    with pytest.raises(ConfigurationError, match=r"PostgreSQL 12, .* are PostgreSQL 18.*OPS_PG_BIN_DIR"):
        find_programs(None, 12)


def test_a_folder_without_programs(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="OPS_PG_BIN_DIR"):
        find_programs(tmp_path)
    with pytest.raises(ConfigurationError, match="pg_amcheck"):
        Programs(tmp_path, 18).path("pg_amcheck")


def test_a_program_that_is_not_postgresql_or_does_not_start(tmp_path: Path) -> None:
    program = tmp_path / "postgres"
    program.write_text("#!/bin/sh\necho something else\n")
    program.chmod(0o755)
    with pytest.raises(ConfigurationError, match="something else"):
        find_programs(tmp_path)
    program.write_text("no program at all")
    with pytest.raises(ConfigurationError, match="does not start"):
        find_programs(tmp_path)


def test_an_account_that_is_not_there_or_is_root() -> None:
    if os.geteuid() != 0:
        assert server_account("no-such-account") is None
        return
    for name in ("no-such-account", "root"):
        with pytest.raises(ConfigurationError, match="OPS_SERVER_USER"):
            server_account(name)


def test_a_failing_program_is_quoted() -> None:
    with pytest.raises(DatabaseError, match=r"(?s)sh failed \(exit code 3\):.*the reason"):
        run(SHELL, "-c", "echo the reason >&2; exit 3", timeout=10)


def test_a_program_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(DatabaseError, match="not done"):
        run(SHELL, "-c", "sleep 60 & sleep 60", timeout=0.3, folder=tmp_path)
    assert time.monotonic() - began < 10
    assert wait_until(lambda: standing_in(tmp_path, {"sleep", "dash", "sh", "bash", "coreutils"}) == [], 5)


def test_what_is_given_on_standard_input_arrives() -> None:
    assert run(Path("/bin/cat"), timeout=10, stdin="a line\n") == "a line\n"


def test_no_variable_of_postgresql_reaches_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "the-production-server")
    assert "PGHOST" not in run(Path("/usr/bin/env"), timeout=10)


def test_a_socket_path_that_the_kernel_refuses(tmp_path: Path) -> None:
    deep = str(tmp_path / ("x" * 100))
    with pytest.raises(ConfigurationError, match="107 bytes"):
        Server(
            Programs(tmp_path, 18),
            tmp_path,
            log_file=tmp_path / "log",
            options={"unix_socket_directories": deep, "listen_addresses": ""},
            account=None,
        )


def test_a_service_is_known_by_its_program_and_its_folder_alone(tmp_path: Path) -> None:
    program = Path(sys.executable).resolve()
    home, other = tmp_path / "home", tmp_path / "other"
    for folder in (home, other):
        folder.mkdir()
        launch(
            [str(program), "-c", "import time; time.sleep(60)"],
            folder=folder,
            log_file=tmp_path / "log",
            account=None,
            env=dict(os.environ),
        )
    try:
        (found,) = standing_in(home, {program.name})
        assert standing_in(home, {"postgres"}) == []
        assert standing_in(tmp_path, {program.name}) == []
        home.rmdir()
        assert standing_in(home, {program.name}) == [found], "a folder that was removed under it is still its place"
    finally:
        for folder in (home, other):
            send(standing_in(folder, {program.name}), signal.SIGKILL)
    assert wait_until(lambda: standing_in(home, {program.name}) == [], 5)


def test_a_service_that_was_seen_before_it_became_its_program(tmp_path: Path) -> None:
    """As another thread sees it that looks between the fork and the exec."""
    go = tmp_path / "go"
    becomes = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
    becomes += "os.execv('/bin/sleep', ['sleep', '60'])"
    program, sleep = Path(sys.executable).resolve(), Path("/bin/sleep").resolve().name
    launch(
        [str(program), "-c", becomes], folder=tmp_path, log_file=tmp_path / "log", account=None, env=dict(os.environ)
    )
    try:
        assert wait_until(lambda: bool(standing_in(tmp_path, {program.name})), 10)
        go.touch()
        assert wait_until(lambda: bool(standing_in(tmp_path, {sleep})), 10)
        assert standing_in(tmp_path, {program.name}) == []
    finally:
        send(standing_in(tmp_path, {program.name, sleep}), signal.SIGKILL)


def test_a_data_directory_where_nothing_runs(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    assert directory.status() == "down"
    (tmp_path / "postmaster.pid").write_text(f"{os.getpid()}\n")
    assert directory.postmaster() is None, "a living process that is not its server"
    directory.stop()
    assert not (tmp_path / "postmaster.pid").exists()
