import socket
import stat
from pathlib import Path

import pytest

from ops_workflows.local.credentials import KEYS, Credentials
from ops_workflows.local.ports import FIRST, GRPC_OFFSET, LAST, NAMES, assign, remember, remembered


def test_every_name_has_a_port_of_its_own() -> None:
    ports = assign({}, ())
    assert set(ports) == set(NAMES)
    assert len(set(ports.values())) == len(NAMES)
    assert all(FIRST <= port <= LAST for port in ports.values())


def test_free_ports_are_kept_and_taken_ones_replaced() -> None:
    known = assign({}, ())
    with socket.create_server(("127.0.0.1", known["valkey"])):
        again = assign(known, ())
        assert {name for name in NAMES if again[name] != known[name]} == {"valkey"}
        assert assign(known, {"valkey"}) == known, "what is taken by our own service is no obstacle"


def test_a_port_of_the_object_store_needs_its_neighbour_too() -> None:
    known = assign({}, ())
    with socket.create_server(("127.0.0.1", known["s3_filer"] + GRPC_OFFSET)):
        assert assign(known, ())["s3_filer"] != known["s3_filer"]


def test_they_are_remembered(tmp_path: Path) -> None:
    ports = assign({}, ())
    remember(tmp_path / "stack.json", ports)
    assert remembered(tmp_path / "stack.json") == ports


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"ports": 1}', '{"ports": {"valkey": "x"}}', '{"ports": null}'])
def test_a_damaged_memory_is_no_memory(tmp_path: Path, text: str) -> None:
    (tmp_path / "stack.json").write_text(text)
    assert remembered(tmp_path / "stack.json") == {}


def test_credentials_are_made_once_and_all_differ(tmp_path: Path) -> None:
    first = Credentials(tmp_path)
    again = Credentials(tmp_path)
    assert [first[key] for key in KEYS] == [again[key] for key in KEYS]
    assert len({first[key] for key in KEYS}) == len(KEYS)


def test_credentials_lie_in_private_files(tmp_path: Path) -> None:
    credentials = Credentials(tmp_path)
    credentials.write(assign({}, ()))
    assert {path.name for path in tmp_path.iterdir()} == {
        "passwords.json", "pgpass", "ops_s3_access_key_id", "ops_s3_secret_access_key", "ops_redis_password",
        "age-identity",
    }  # fmt: skip
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    assert (tmp_path / "ops_redis_password").read_text() == credentials["valkey"]
