"""Keys that would stay for ever get an expiry, stale ones go, and the server never has to stop for it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from valkey import Valkey

from ops_workflows.cache.valkey import server_facts, sweep
from ops_workflows.errors import CacheError, OpsError, RefusedError
from ops_workflows.schema.apply import migrate_up
from ops_workflows.settings import Settings
from tests.support.command import ops_here
from tests.support.schema import MIGRATIONS, own_database, wait_for
from tests.support.servers import HOST, free_port
from tests.support.valkeys import behind_tls, certificate_of_its_own, own_valkey

DAY = 86_400


@pytest.fixture
def port() -> Iterator[int]:
    with own_valkey() as made:
        yield made


@pytest.fixture
def client(port: int) -> Iterator["Valkey[Any]"]:
    with Valkey(host=HOST, port=port, socket_timeout=10) as made:
        yield made


def pointed(port: int, path: str = "/0", user: str = "", scheme: str = "redis", **more: Any) -> Settings:
    return Settings(redis_url=SecretStr(f"{scheme}://{user}{HOST}:{port}{path}"), **more)


def commands(client: "Valkey[Any]") -> set[str]:
    return {name.removeprefix("cmdstat_").lower() for name in client.info("commandstats")}


def test_keys_that_would_stay_for_ever_get_an_expiry_and_no_others(port: int, client: "Valkey[Any]") -> None:
    client.mset({f"panchangam:{n}": n for n in range(3_000)} | {"session:1": "x"})
    client.set("panchangam:soon", "x", ex=100)
    settings = pointed(port, redis_expiry_seconds=DAY)

    planned = sweep(settings, dry_run=True)
    assert (planned.given_expiry, client.ttl("panchangam:7")) == (3_000, -1), "a dry run does nothing"
    done = sweep(settings)
    assert (done.given_expiry, done.unlinked, done.complete) == (3_000, 0, True)
    assert DAY - 60 <= client.ttl("panchangam:7") <= DAY
    assert client.ttl("panchangam:soon") <= 100
    assert client.ttl("session:1") == -1
    assert sweep(settings).given_expiry == 0
    assert done.after.databases == {0: 3_002}
    assert done.after.used_bytes > 0


def test_stale_keys_are_unlinked_and_those_that_were_read_stay(port: int, client: "Valkey[Any]") -> None:
    client.mset({f"old:{n}": n for n in range(1_200)} | {"other:1": "x"})
    patient = pointed(port, redis_stale="old:*,older:*", redis_stale_days=3 / DAY)
    assert sweep(patient.model_copy(update={"redis_stale_days": 1.0})).unlinked == 0
    deadline = time.monotonic() + 15
    while client.object("IDLETIME", "old:1199") < 4:
        assert time.monotonic() < deadline
        client.get("old:7")
        time.sleep(0.05)
    assert sweep(patient, dry_run=True).unlinked == 1_199
    assert client.dbsize() == 1_201
    assert sweep(patient).unlinked == 1_199
    assert sorted(client.scan_iter()) == [b"old:7", b"other:1"]


def test_nothing_that_stops_the_server_is_ever_sent(port: int, client: "Valkey[Any]") -> None:
    client.mset({f"panchangam:{n}": n for n in range(500)} | {f"old:{n}": n for n in range(500)})
    client.config_resetstat()
    wait_for(lambda: client.object("IDLETIME", "old:1") >= 1)
    sweep(pointed(port, redis_stale="old:*", redis_stale_days=1 / DAY))
    sent = commands(client)
    assert {"scan", "unlink", "expire"} <= sent
    assert not sent & {"keys", "flushdb", "flushall", "del", "eval"}


def test_several_databases_are_swept_and_others_left_alone(port: int) -> None:
    for number in (0, 2, 5):
        with Valkey(host=HOST, port=port, db=number) as client:
            client.set("panchangam:1", "x")
    assert sweep(pointed(port, "/7", redis_databases="0,5")).given_expiry == 2
    assert sweep(pointed(port, "/2")).given_expiry == 1
    with pytest.raises(CacheError, match="correct OPS_REDIS_DATABASES"):
        sweep(pointed(port, redis_databases="99"))


def test_it_keeps_the_rate_and_the_time_that_it_may_take(port: int, client: "Valkey[Any]") -> None:
    client.mset({f"panchangam:{n}": n for n in range(6_000)})
    slow = pointed(port, redis_keys_per_second=4_000)
    assert sweep(slow).seconds > 1.2
    client.mset({f"panchangam:{n}": n for n in range(6_000)})
    brief = sweep(slow.model_copy(update={"redis_most_seconds": 0.3}))
    assert not brief.complete
    assert 0 < brief.given_expiry < 6_000
    assert "OPS_REDIS_MOST_SECONDS" in brief.notes[0]
    assert sweep(pointed(port)).given_expiry == 6_000 - brief.given_expiry, "the next run goes on"


def test_where_the_server_does_not_know_ages_stale_keys_are_left_alone() -> None:
    with own_valkey("maxmemory 50mb\nmaxmemory-policy allkeys-lfu") as port:
        with Valkey(host=HOST, port=port) as client:
            client.set("old:1", "x")
        done = sweep(pointed(port, redis_stale="old:*", redis_stale_days=1e-9))
    assert done.unlinked == 0
    assert "allkeys-lfu" in done.notes[0]


def test_over_tls_as_a_user_with_no_more_rights_than_needed(tmp_path: Path) -> None:
    certificate, key = certificate_of_its_own(tmp_path)
    users = (
        "user sweeper on >s3cret ~* +info +scan +object|idletime +ttl +expire +unlink +select +ping\n"
        "user idler on >s3cret ~* +ping +info"
    )
    with own_valkey(users) as plain, behind_tls(plain, certificate, key) as port:
        with Valkey(host=HOST, port=plain) as client:
            client.set("panchangam:1", "x")
            client.set("old:1", "x")
            wait_for(lambda: client.object("IDLETIME", "old:1") >= 1)
        more: dict[str, Any] = {"redis_password": SecretStr("s3cret"), "redis_ca_file": certificate}
        stale = {"redis_stale": "old:*", "redis_stale_days": 1 / DAY}
        sweeper = pointed(port, user="sweeper@", scheme="rediss", **more, **stale)
        done = sweep(sweeper)
        assert (done.given_expiry, done.unlinked) == (1, 1)
        with pytest.raises(CacheError, match="let OPS_REDIS_CA_FILE name the CA"):
            sweep(sweeper.model_copy(update={"redis_ca_file": None}))
        with pytest.raises(CacheError, match="grant its ACL user"):
            sweep(pointed(port, user="idler@", scheme="rediss", **more))


def test_a_cluster_is_refused_and_nothing_touched() -> None:
    with own_valkey("cluster-enabled yes") as port:
        with pytest.raises(RefusedError, match="is part of a cluster"):
            sweep(pointed(port))
        with Valkey(host=HOST, port=port) as client:
            assert "scan" not in commands(client)


def test_a_replica_that_only_reads_is_named(port: int, client: "Valkey[Any]") -> None:
    client.set("panchangam:1", "x")
    client.execute_command("REPLICAOF", HOST, str(free_port()))
    with pytest.raises(CacheError, match="let OPS_REDIS_URL name the primary"):
        sweep(pointed(port))


@pytest.mark.parametrize(
    ("user", "password", "said"),
    [
        ("", "hunter2", "correct"),
        ("nobody:hunter2@", None, "correct the user in OPS_REDIS_URL and OPS_REDIS_PASSWORD"),
        ("", None, "set OPS_REDIS_PASSWORD"),
    ],
)
def test_a_wrong_password_is_one_sentence_that_does_not_repeat_it(user: str, password: str | None, said: str) -> None:
    with own_valkey("requirepass right") as port:
        secret = SecretStr(password) if password else None
        with pytest.raises(CacheError, match=said) as caught:
            server_facts(pointed(port, user=user, redis_password=secret))
    assert one_sentence(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_server_that_is_down_is_one_sentence() -> None:
    with pytest.raises(CacheError, match=f"{HOST}:.*start it, or correct host and port in OPS_REDIS_URL") as caught:
        sweep(pointed(free_port()))
    assert one_sentence(caught.value)


def test_a_person_sees_table_and_keys_together(settings: Settings, tmp_path: Path) -> None:
    """On the embedded stack's cache, in a database of it that nothing else uses."""
    with own_database(settings) as database:
        migrate_up(database.owner, MIGRATIONS)
        url = settings.require("redis_url").removesuffix("/0") + "/9"
        changed = {"upkeep_dsn": SecretStr(database.upkeep), "redis_url": SecretStr(url)}
        own = settings.model_copy(update=changed)
        with Valkey.from_url(url, password=own.require("redis_password")) as client:
            client.set("panchangam:1", "x")
            planned = json.loads(ops_here(own, tmp_path, "cache", "prune", "--json").out)
            assert (planned["applied"], planned["keys"]["keys_given_expiry"]) == (False, 1)
            assert client.ttl("panchangam:1") == -1
            done = json.loads(ops_here(own, tmp_path, "cache", "prune", "--yes", "--json").out)
            assert (done["applied"], done["keys"]["keys_given_expiry"]) == (True, 1)
            assert client.ttl("panchangam:1") > 0
            status = ops_here(own, tmp_path, "cache", "status")
            assert "allkeys-lru" in status.out
            client.unlink("panchangam:1")


def one_sentence(error: OpsError) -> bool:
    return "\n" not in str(error) and str(error).endswith(".")
