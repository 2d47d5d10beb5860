"""A standby becomes the primary: the receiver follows it onto the new timeline, and a restore crosses over."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from ops_workflows.backup.take import take_backup
from ops_workflows.backup.wal_status import wal_status
from ops_workflows.postgres.processes import wait_until
from ops_workflows.repository.wal import history_key, parse_history
from ops_workflows.restore.moment import Latest
from ops_workflows.settings import Settings
from tests.support.continuous import (
    Traffic,
    caught_up,
    either,
    is_streaming,
    promote,
    receiving,
    repository_of,
    rows_at,
    standby_of,
    values,
    wal_listing,
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
