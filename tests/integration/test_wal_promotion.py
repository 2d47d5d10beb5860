"""A standby becomes the primary: the receiver follows it onto the new timeline, and a restore crosses over."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from ops_workflows.backup.take import take_backup
from ops_workflows.backup.wal_status import wal_status
from ops_workflows.errors import IntegrityError
from ops_workflows.postgres.account import hand_over
from ops_workflows.postgres.processes import wait_until
from ops_workflows.repository.wal import history_key, parse_history
from ops_workflows.restore.moment import Latest
from ops_workflows.settings import Settings
from tests.support.bucket import forbidden, keys
from tests.support.continuous import (
    SEGMENT,
    Traffic,
    caught_up,
    either,
    is_streaming,
    promote,
    receiving,
    repository_of,
    rows_at,
    slot_at,
    standby_of,
    values,
    wal_listing,
    write_wal,
)
from tests.support.proxy import proxy_to
from tests.support.servers import ScratchServer, reachable_folder, scratch_server


@pytest.fixture(params=["off", "on"], ids=["not archived", "archived too"])
def pair(stack: object, request: pytest.FixtureRequest) -> Iterator[tuple[ScratchServer, ScratchServer]]:
    """A primary and its standby. Where they archive, the old timeline's last segment is renamed at the promotion."""
    archive = {"archive_mode": request.param, "archive_command": "true"}
    with scratch_server(**archive) as primary, standby_of(primary) as standby:
        Traffic(primary.dsn("postgres")).prepare()
        yield primary, standby


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as made:
        yield made / "data"


def fail_over(primary: ScratchServer, standby: ScratchServer) -> None:
    with primary.connect() as connection:
        end = values(connection, "SELECT pg_current_wal_flush_lsn()::text")[0]
    with standby.connect() as connection:
        replayed = f"SELECT pg_last_wal_replay_lsn() >= '{end}'"
        assert wait_until(lambda: values(connection, replayed) == [True], 30)
    primary.server.stop("immediate")
    promote(standby)


def test_promoted_while_a_receiver_works(
    pair: tuple[ScratchServer, ScratchServer], settings: Settings, folder: Path
) -> None:
    """The new primary has no slot of ours yet: the receiver makes one, and fetches what the bucket lacks before it."""
    primary, standby = pair
    own = primary.settings(settings, wal_flush_seconds=0.2, backup_dsn=SecretStr(either(primary, standby)))
    with receiving(own, primary) as receiver:
        take_backup(own)
        with Traffic(primary.dsn("postgres")).running() as before:
            before.more(30)
        fail_over(primary, standby)
        with Traffic(standby.dsn("postgres"), _next=10_000).running() as after:
            after.more(30)
        assert wait_until(lambda: is_streaming(standby), 60)
        caught_up(standby)
        sentences = " ".join(receiver.heard.sentences)
        assert "gap" not in sentences
        assert receiver.errors == []
        repository = repository_of(own, standby)
        listing = wal_listing(repository)
        assert listing.histories == {2}
        (branch,) = parse_history(repository.store.get(repository.layout.wal + history_key(2)))
        assert [found.timeline for found in listing.ranges()] == [1, 2]
        assert listing.ranges()[0].end >= branch.at
        found = wal_status(own)
        assert (found.is_whole, found.gaps, found.cut_off) == (True, (), None)
    assert rows_at(own, repository, Latest(), folder) == before.ids() | after.ids()


def test_promoted_while_the_bucket_is_away(settings: Settings, folder: Path, stack: object) -> None:
    with scratch_server() as primary, standby_of(primary) as standby:
        Traffic(primary.dsn("postgres")).prepare()
        own = primary.settings(
            settings,
            wal_flush_seconds=0.2,
            backup_dsn=SecretStr(either(primary, standby)),
            s3_timeout_seconds=3,
            s3_attempts=2,
        )
        with proxy_to(own.require("s3_endpoint_url")) as proxy:
            away = own.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{proxy.port}"})
            with receiving(away, primary) as receiver:
                take_backup(own)
                caught_up(primary)
                proxy.cut()
                with Traffic(primary.dsn("postgres")).running() as before:
                    before.more(30)
                fail_over(primary, standby)
                with Traffic(standby.dsn("postgres"), _next=10_000).running() as after:
                    after.more(30)
                said = receiver.heard.sentences
                assert wait_until(lambda: any("Trying again" in sentence for sentence in said), 30)
                seen = len(said)
                assert wait_until(lambda: len(said) > seen, 60)
                proxy.mend()
                assert wait_until(lambda: is_streaming(standby), 60)
                caught_up(standby)
                assert receiver.errors == []
                assert any(sentence.startswith("Timeline 1 ended at") for sentence in said)
        assert rows_at(own, repository_of(own, standby), Latest(), folder) == before.ids() | after.ids()


def test_told_to_stop_after_a_promotion_that_the_bucket_has_not_heard_of(
    settings: Settings, folder: Path, stack: object
) -> None:
    """The old timeline's end is not in the bucket yet: the slot stays where that is still to be had."""
    with scratch_server(wal_keep_size="1GB") as primary, standby_of(primary) as standby:
        Traffic(primary.dsn("postgres")).prepare()
        own = primary.settings(settings, wal_flush_seconds=0.2, backup_dsn=SecretStr(either(primary, standby)))
        with receiving(own, primary):
            take_backup(own)
            safe = caught_up(primary)
        write_wal(primary, SEGMENT // 4)  # and the rest of its segment: what the bucket lacks are two
        with Traffic(primary.dsn("postgres")).running() as before:
            before.more(30)
        fail_over(primary, standby)
        with Traffic(standby.dsn("postgres"), _next=10_000).running() as after:
            after.more(30)
        old_timeline = f"{own.s3_prefix}/{repository_of(own, standby).layout.system}/wal/00000001"
        with forbidden(own.model_copy(update={"s3_prefix": old_timeline}), "s3:PutObject"):
            with receiving(own) as receiver:
                said = receiver.heard.sentences
                assert wait_until(lambda: any("WAL waits in the slot" in sentence for sentence in said), 30)
                assert wait_until(lambda: not is_streaming(standby), 30)  # it has come to the timeline's end
                receiver.end()
                assert receiver.errors == []
            assert slot_at(standby) <= safe
            assert any("waits in the slot: the bucket has not taken it yet." in sentence for sentence in said)
        with receiving(own, standby) as receiver:
            caught_up(standby)
            assert not any("gap" in sentence for sentence in receiver.heard.sentences)
            found = wal_status(own)
            assert (found.is_whole, found.gaps, found.cut_off) == (True, (), None)
            assert [found.timeline for found in wal_listing(repository_of(own, standby)).ranges()] == [1, 2]
        assert rows_at(own, repository_of(own, standby), Latest(), folder) == before.ids() | after.ids()


@pytest.mark.parametrize("connected", [False, True], ids=["and found", "and followed"])
def test_two_promoted_to_the_same_timeline(settings: Settings, stack: object, connected: bool) -> None:
    """The second one's history is another: it is refused, and nothing of what it wrote since is in the bucket."""
    with scratch_server() as primary, standby_of(primary) as standby:
        own = primary.settings(settings, wal_flush_seconds=0.2, backup_dsn=SecretStr(either(primary, standby)))
        with receiving(own, primary):
            caught_up(primary)
        fail_over(primary, standby)
        with receiving(own, standby):
            caught_up(standby)
        standby.server.stop("fast")
        there = second_timeline(own)
        # The old primary goes on for a while, and is then promoted to a second timeline 2.
        primary.server.start()
        write_wal(primary, 2**20)
        primary.server.stop("fast")
        signal = primary.server.data_dir / "standby.signal"
        signal.touch()
        hand_over(signal, primary.server.account)
        primary.server.start()
        if not connected:
            promote(primary)
        direct = own.model_copy(update={"backup_dsn": SecretStr(primary.dsn())})
        with receiving(direct, primary if connected else None) as receiver:
            if connected:
                promote(primary)
            assert wait_until(lambda: bool(receiver.errors), 30), receiver.heard.sentences
        (error,) = receiver.errors
        assert isinstance(error, IntegrityError)
        assert "The bucket holds another timeline 2 than the server's" in str(error)
        assert second_timeline(own) == there


def second_timeline(settings: Settings) -> list[str]:
    return [key for key in keys(settings) if "/wal/00000002" in key]
