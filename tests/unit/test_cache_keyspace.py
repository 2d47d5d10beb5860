"""What a Valkey or Redis server says of itself, and what it is asked."""

import pytest
from pydantic import SecretStr

from ops_workflows.cache.keyspace import patterns, read_facts, to_rest
from ops_workflows.errors import ConfigurationError
from ops_workflows.settings import Settings
from ops_workflows.valkey.client import connected, where


def test_what_a_server_does_not_say_is_nothing_and_not_an_error() -> None:
    facts = read_facts({})
    assert (facts.hit_rate, facts.clustered, facts.databases, facts.used_bytes) == (None, False, {}, 0)


def test_what_it_says_is_read() -> None:
    facts = read_facts(
        {
            "redis_version": "7.2.4",
            "valkey_version": "9.0.1",
            "used_memory": 1_000_000,
            "maxmemory_policy": "allkeys-lfu",
            "keyspace_hits": 3,
            "keyspace_misses": 1,
            "cluster_enabled": 1,
            "db0": {"keys": 7, "expires": 2},
            "db12": {"keys": 1},
        }
    )
    assert (facts.version, facts.hit_rate, facts.clustered) == ("9.0.1", 0.75, True)
    assert facts.databases == {0: 7, 12: 1}
    assert not facts.knows_age


def test_the_rate_is_kept() -> None:
    assert to_rest(1_000, 0.2, 1_000) == pytest.approx(0.8)
    assert to_rest(1_000, 5, 1_000) == 0


def test_patterns_are_read_with_commas_in_between() -> None:
    assert patterns(" a:*, b:?  ,,") == ("a:*", "b:?")


@pytest.mark.parametrize("url", ["http://h/0", "redis://h:port/0", "redis://h:99999/0", "nonsense"])
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    settings = Settings(redis_url=SecretStr(url))
    expected = pytest.raises(ConfigurationError, match="OPS_REDIS_URL cannot be read: write redis://")
    with expected as caught, connected(settings):
        pass
    assert url not in str(caught.value)


def test_where_the_server_is_does_not_tell_its_password() -> None:
    assert where(Settings(redis_url=SecretStr("rediss://me:hunter2@cache.example/3"))) == "cache.example:6379"
    assert where(Settings(redis_url=SecretStr("unix:///run/valkey.sock"))) == "/run/valkey.sock"


@pytest.mark.parametrize(
    ("url", "database", "meant"),
    [
        ("redis://h", None, {"db": 0}),
        ("redis://h/", None, {"db": 0}),
        ("redis://h/3", None, {"db": 3}),
        ("redis://h/3", 1, {"db": 1}),
        ("redis://h?db=3", None, {"db": 3}),
        ("redis://h?db=3", 0, {"db": 0}),
        ("redis://h/2?db=3&username=us%26er", 1, {"db": 1, "username": "us&er"}),
        ("unix:///run/valkey.sock?username=user&db=3", 2, {"db": 2, "username": "user", "path": "/run/valkey.sock"}),
        ("unix://user@/run/valkey.sock", None, {"db": 0, "username": "user"}),
        ("rediss://h/1?ssl_certfile=own.pem", 2, {"db": 2, "ssl_certfile": "own.pem"}),
    ],
)
def test_a_url_means_the_database_asked_for_and_keeps_the_rest(
    url: str, database: int | None, meant: dict[str, object]
) -> None:
    with connected(Settings(redis_url=SecretStr(url)), database) as client:
        assert client.connection_pool.connection_kwargs.items() >= meant.items()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://u:hunter2@h/abc", "a database that is no number"),
        ("redis://u:hunter2@h/1/2", "a database that is no number"),
        ("redis://u:hunter2@h/0?db=-1", "a database that is no number"),
        ("redis://u:hunter2@h?foo=bar", "leave out all but db, username, password\\.$"),
        ("redis://u:hunter2@h?ssl_certfile=own.pem", "leave out all but db, username, password\\.$"),
        ("rediss://u:hunter2@h?socket_timeout=0", "leave out all but .*ssl_certfile"),
        ("unix://u:hunter2@/s.sock?foo", "leave out all but"),
    ],
)
def test_what_a_url_should_not_hold_is_refused_in_a_sentence(url: str, said: str) -> None:
    with (
        pytest.raises(ConfigurationError, match=said) as caught,
        connected(Settings(redis_url=SecretStr(url)), 1),
    ):
        raise AssertionError("it was taken")
    assert "hunter2" not in str(caught.value)
