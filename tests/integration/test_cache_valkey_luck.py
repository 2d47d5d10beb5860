"""A Valkey server that is away, silent, loading, full or forbidding is one sentence, and is never taken for swept."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from valkey import Valkey
from valkey.exceptions import OutOfMemoryError

from ops_workflows.cache.checks import memory_finding, sweep_and_find
from ops_workflows.cache.keyspace import matching
from ops_workflows.cache.valkey import server_facts, sweep
from ops_workflows.errors import CacheError, OpsError
from ops_workflows.settings import Settings
from tests.support.proxy import proxy_to
from tests.support.schema import wait_for
from tests.support.servers import HOST
from tests.support.valkeys import behind_tls, certificate_of_its_own, own_valkey

DAY = 86_400
PATTERNS = r"""
    a* *a a?c ? * a.c a\*c a\ \[x] [abc]x [^ab]x [a-c]x [c-a]x [^a-c]x []x [^]x [a [a- [a-]x [\]]x [\^a]x a**c é* [é]
    (a|b) a+ {ab} ^a$"""
KEYS = r"a b ac abc a.c a*c aXc ax bx cx dx ]x ^x -x [x] x a\ é éa (a|b) a+ aa {ab} ^a$ a- [a [ - aac"


@pytest.fixture(scope="module")
def shared() -> Iterator[int]:
    with own_valkey() as made:
        yield made


@pytest.fixture
def port(shared: int) -> int:
    with connected(shared) as client:
        client.flushall()
    return shared


def connected(port: int, **more: Any) -> "Valkey[Any]":
    return Valkey(host=HOST, port=port, socket_timeout=10, **more)


def pointed(port: int, user: str = "", scheme: str = "redis", **more: Any) -> Settings:
    return Settings(redis_url=SecretStr(f"{scheme}://{user}{HOST}:{port}/0"), **more)


def impatient(settings: Settings) -> Settings:
    """With a patience so short that a person could not set it."""
    return settings.model_copy(update={"stall_seconds": 1})


def one_sentence(error: OpsError) -> bool:
    return "\n" not in str(error) and str(error).endswith(".")


def test_one_that_loads_its_dataset_is_waited_for_by_a_person_and_not_taken_for_empty() -> None:
    with own_valkey() as port, connected(port) as client:
        client.mset({f"panchangam:{n}": n for n in range(3_000)})
        client.save()
        dump = (Path(client.config_get("dir")["dir"]) / "dump.rdb").read_bytes()
    slowly = "key-load-delay 3000\nloading-process-events-interval-bytes 1024"
    with own_valkey(slowly, dump=dump, ready="Loading RDB") as port:
        facts = server_facts(pointed(port))
        assert facts.loading
        assert not memory_finding(facts).passed
        for dry_run in (False, True):
            with pytest.raises(CacheError, match=r"is still loading the dataset.* wait until it has loaded") as caught:
                sweep(pointed(port), dry_run=dry_run)
            assert one_sentence(caught.value)
        figures, found = sweep_and_find(pointed(port))
        assert figures["keys_complete"] is False
        assert not any(each.passed for each in found.values())


def test_one_that_is_full_and_refuses_to_write_is_swept_and_has_room_again() -> None:
    with own_valkey("maxmemory 5mb\nmaxmemory-policy noeviction") as port, connected(port) as client:
        with suppress(OutOfMemoryError):
            for number in range(100_000):
                client.set(f"old:{number}" if number % 2 else f"panchangam:{number}", "x" * 1_000)
        with pytest.raises(OutOfMemoryError):
            client.set("more", "x" * 100_000)
        assert not memory_finding(server_facts(pointed(port))).passed
        wait_for(lambda: all(client.object("IDLETIME", key) >= 1 for key in ("old:1", client.randomkey())))
        _, found = sweep_and_find(pointed(port), dry_run=True)
        assert not found["keys_expire"].passed
        assert "would stay for ever" in found["keys_expire"].said
        done = sweep(pointed(port, redis_stale="old:*", redis_stale_days=1 / DAY))
        assert done.unlinked > 500
        assert done.given_expiry > 500
        wait_for(lambda: memory_finding(server_facts(pointed(port))).passed)  # UNLINK frees in the background
        assert client.set("more", "x" * 100_000)


def test_one_that_takes_our_words_and_never_answers_is_given_up(port: int) -> None:
    with proxy_to(f"{HOST}:{port}") as proxy:
        proxy.stall()
        with pytest.raises(CacheError, match=r"Timeout reading from .* firewall or a stopped server") as caught:
            sweep(impatient(pointed(proxy.port)))
    assert one_sentence(caught.value)


def test_one_that_goes_away_in_the_middle_is_an_error_and_the_next_run_goes_on(port: int) -> None:
    with connected(port) as client:
        client.mset({f"panchangam:{n}": n for n in range(5_000)})
        with proxy_to(f"{HOST}:{port}") as proxy:
            seen = 0

            def cut(chunk: bytes) -> None:
                nonlocal seen
                seen += chunk.count(b"SCAN")
                if seen == 4:
                    proxy.cut()

            proxy.before = cut
            with pytest.raises(CacheError) as caught:
                sweep(pointed(proxy.port))
            assert one_sentence(caught.value)
        left = sweep(pointed(port))
        assert 0 < left.given_expiry < 5_000
        assert sweep(pointed(port)).given_expiry == 0


def test_two_sweeps_at_once_do_each_thing_once(port: int) -> None:
    with connected(port) as client:
        client.mset({f"panchangam:{n}": n for n in range(20_000)} | {f"old:{n}": n for n in range(5_000)})
        wait_for(lambda: client.object("IDLETIME", "old:1") >= 1)
        own = pointed(port, redis_stale="old:*", redis_stale_days=1 / DAY, redis_keys_per_second=10**7)
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(lambda _number: sweep(own), range(2))
        assert client.dbsize() == 20_000
    assert first.given_expiry + second.given_expiry == 20_000
    assert first.unlinked + second.unlinked == 5_000


def test_one_that_cannot_save_and_therefore_refuses_to_write_is_told_from_others() -> None:
    with own_valkey("save 3600 1") as port, connected(port) as client:
        client.set("panchangam:1", "x")
        folder = Path(client.config_get("dir")["dir"])
        folder.chmod(0o500)
        try:
            client.bgsave()
            wait_for(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
            with pytest.raises(CacheError, match=r"MISCONF.* why it cannot save") as caught:
                sweep(pointed(port))
        finally:
            folder.chmod(0o700)
        assert one_sentence(caught.value)


def test_a_user_with_too_few_rights_is_told_which_and_no_key_is_named() -> None:
    users = (
        "user reader on >s3cret ~* +info +scan +ttl +select +ping\n"
        "user other on >s3cret ~other:* +info +scan +object|idletime +ttl +expire +unlink +select +ping"
    )
    with own_valkey(users) as port:
        with connected(port) as client:
            client.set("panchangam:hunter2", "x")
        password = SecretStr("s3cret")
        for user, said in (("reader", "expire.* grant its ACL user \\+info"), ("other", "grant its ACL user the keys")):
            with pytest.raises(CacheError, match=said) as caught:
                sweep(pointed(port, user=f"{user}@", redis_password=password))
            assert one_sentence(caught.value)
            assert "hunter2" not in str(caught.value)
        reader = sweep(pointed(port, user="reader@", redis_password=password), dry_run=True)
        assert reader.given_expiry == 1, "to look takes fewer rights"


def test_a_certificate_for_another_host_is_refused_and_tls_is_not_mixed_up(port: int, tmp_path: Path) -> None:
    certificate, key = certificate_of_its_own(tmp_path)
    more: dict[str, Any] = {"redis_ca_file": certificate}
    with behind_tls(port, certificate, key) as safe:
        assert server_facts(pointed(safe, scheme="rediss", **more)).version
        with pytest.raises(CacheError, match="write rediss:// in OPS_REDIS_URL"):
            server_facts(pointed(safe))
    certificate, key = certificate_of_its_own(tmp_path, "elsewhere.example", "DNS:elsewhere.example")
    wrong = pytest.raises(CacheError, match="name the host as its certificate does")
    with behind_tls(port, certificate, key) as elsewhere, wrong:
        server_facts(pointed(elsewhere, scheme="rediss", **more))
    with pytest.raises(CacheError, match="write redis:// if it does not speak TLS"):
        server_facts(impatient(pointed(port, scheme="rediss", **more)))


def test_a_dry_run_counts_a_key_once_however_many_patterns_it_matches(port: int) -> None:
    with connected(port) as client:
        client.mset({f"panchangam:old:{n}": n for n in range(700)})
        wait_for(lambda: client.object("IDLETIME", "panchangam:old:699") >= 2)
        client.mset({f"panchangam:new:{n}": n for n in range(300)})
        both = pointed(
            port,
            redis_expiring="panchangam:*,panchangam:old:*,*:new:*",
            redis_stale="panchangam:old:*,panchangam:*",
            redis_stale_days=2 / DAY,
            redis_databases="0,0",
        )
        planned = sweep(both, dry_run=True)
        assert client.dbsize() == 1_000
        done = sweep(both)
    assert (planned.unlinked, planned.given_expiry) == (done.unlinked, done.given_expiry) == (700, 300)


def test_a_pattern_means_here_what_it_means_to_the_server(port: int) -> None:
    keys = {*KEYS.split(), "", "a\nc"}
    with connected(port) as client:
        client.mset(dict.fromkeys(keys, "1"))
        for pattern in PATTERNS.split():
            there = set(client.scan_iter(match=pattern, count=1_000))
            here = {key.encode() for key in keys if matching(pattern).match(key.encode())}
            assert here == there, pattern
