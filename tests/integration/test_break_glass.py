"""docs/break-glass.md, followed as it stands: the database comes back without this project."""

import re
import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from ops_workflows.backup.policy import Kind
from ops_workflows.backup.take import take_backup
from ops_workflows.backup.wal_receiver import catch_up
from ops_workflows.postgres.account import hand_over
from ops_workflows.postgres.programs import run
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.wal import segment_name
from ops_workflows.settings import Settings
from tests.support.bucket import keys
from tests.support.by_hand import PAGE, follow, said, steps
from tests.support.continuous import caught_up, promote, receiving, values
from tests.support.servers import ScratchServer, reachable_folder, scratch_server

DEBIAN = Path(__file__).parents[2] / ".ci/debian-packages"
SEGMENT = 1024 * 1024
ASK = said("psql ").replace("DATABASE", "postgres")
LOOK = f"""
[ "$({ASK} -Atc 'SELECT pg_is_in_recovery()')" = f ]
{ASK} -Atc "SELECT string_agg(word, ' ' ORDER BY n) FROM words" >words
"""
# What whoever restores corrects before the server is opened. It has no configuration if the lost one's lay elsewhere.
CORRECT = """
cat >>"$TARGET/data/postgresql.conf" <<END
listen_addresses = ''
unix_socket_directories = '$TARGET'
max_prepared_transactions = 5
END
echo 'local all all trust' >"$TARGET/data/pg_hba.conf"
sed -i '/^shared_preload_libraries/d' "$TARGET/data/postgresql.auto.conf"
"""
LOOK_AGAIN = f"""
{ASK} -Atc 'SHOW work_mem' >setting
{ASK} -Atc 'SELECT gid FROM pg_prepared_xacts' >prepared
pg_ctl -D "$TARGET/data" -m fast -w stop
"""


@pytest.fixture(autouse=True)
def _programs() -> None:
    for program in ("aws", "age", "zstd", "lz4"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install awscli age zstd lz4")


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as made:
        yield made


def typed(backup: Backup, recover: list[str] | None = None, again: Collection[int] = ()) -> list[str]:
    """The whole page; `recover` in the place of its sixth step, and some steps run again."""
    blocks = {step: of * 2 if step in again else of for step, of in steps().items()}
    listing, choice = blocks[2]
    stop, start = blocks[7]
    chosen = said("BACKUP=").partition("=")[0] + f"={backup.id}"
    before = [*blocks[1], listing, chosen, choice, *blocks[3], *blocks[4], *blocks[5]]
    return [*before, *(recover or blocks[6]), LOOK, stop, CORRECT, start, LOOK_AGAIN]


def content(folder: Path, name: str) -> list[str]:
    return (folder / name).read_text().split()


def write(server: ScratchServer, word: str, *, last: bool = False) -> None:
    """A row, and perhaps the end of its segment of the log."""
    with server.connect() as connection:
        connection.execute("INSERT INTO words (word) VALUES (%s)", [word])
        if last:
            connection.execute("SELECT pg_switch_wal()")


def promote_itself(server: ScratchServer) -> None:
    """Onto a new timeline, without a second server."""
    server.server.stop("fast")
    signal = server.server.data_dir / "standby.signal"
    signal.touch(mode=0o600)
    hand_over(signal, server.server.account)
    server.server.start()
    promote(server)


def make_segments_small(server: ScratchServer) -> None:
    server.server.stop("fast")
    program, data = server.server.programs.path("pg_resetwal"), server.server.data_dir
    run(program, f"--wal-segsize={SEGMENT // 2**20}", data, timeout=20, account=server.server.account)
    server.server.start()


def make_table_elsewhere(server: ScratchServer) -> None:
    place = server.server.data_dir.parent / "elsewhere"
    place.mkdir(mode=0o700)
    hand_over(place, server.server.account)
    with server.connect() as connection:
        connection.execute(f"CREATE TABLESPACE elsewhere LOCATION '{place}'".encode())
        connection.execute("CREATE TABLE words (n int GENERATED ALWAYS AS IDENTITY, word text) TABLESPACE elsewhere")


def tablespaces(folder: Path) -> dict[str, Path]:
    """Where those of the restored server are."""
    return {link.name: link.resolve() for link in (folder / "target/data/pg_tblspc").iterdir()}


def test_from_a_bucket(settings: Settings, folder: Path) -> None:
    """Encrypted, an incremental backup, a tablespace, and a promotion after that: to the end of the log."""
    with scratch_server(summarize_wal="on") as server:
        own = server.settings(settings)
        make_table_elsewhere(server)
        catch_up(own, 60)
        write(server, "before", last=True)
        take_backup(own)
        write(server, "full")
        backup = take_backup(own, kind=Kind.INCREMENTAL)
        write(server, "incremental", last=True)
        write(server, "unfinished")
        promote_itself(server)
        write(server, "second", last=True)
        write(server, "timeline")
        catch_up(own, 60)
    assert (backup.encrypted, backup.codec, backup.parent is None) == (True, "zstd", False)

    printed = follow(
        typed(backup),
        folder,
        own,
        variables={
            "REPOSITORY": f"s3://{own.s3_bucket}/{own.s3_prefix}/{backup.system}",
            "S3": f"aws --endpoint-url {own.s3_endpoint_url} s3",
            "AWS_ACCESS_KEY_ID": own.require("s3_access_key_id"),
            "AWS_SECRET_ACCESS_KEY": own.require("s3_secret_access_key"),
            "AWS_DEFAULT_REGION": own.s3_region,
        },
    )
    assert content(folder, "words") == ["before", "full", "incremental", "unfinished", "second", "timeline"]
    assert f"for PostgreSQL 18: {backup.parent} {backup.id}\n" in printed
    assert printed.count(said("backup successfully")) == 3  # each of the two, and the whole
    (space,) = backup.tablespaces
    assert tablespaces(folder) == {str(space.oid): folder / f"target/spaces/{space.oid}"}
    fetched = sorted(path.name for path in (folder / "target/wal").iterdir())
    assert {name[:8] for name in fetched} == {"00000001", "00000002"}
    first = segment_name(backup.timeline, backup.start_lsn, backup.wal_segment_bytes)
    assert fetched[0] == first > min(key.split("/")[-1] for key in keys(own) if "/wal/00000001/" in key)


@dataclass(frozen=True)
class Brought:
    """A repository in a folder.

    Attributes:
        apart: A backup with a tablespace.
        moment: Later than that, between the commits of `early` and `late`.
        last: A backup without one.
        grown: Where a tablespace was made after that.
    """

    root: Path
    settings: Settings
    apart: Backup
    moment: datetime
    last: Backup
    grown: Path


@pytest.fixture(scope="module")
def brought(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brought]:
    """Compressed with lz4, not encrypted, of a server with small segments and its configuration files elsewhere.

    What ALTER SYSTEM has set there, no other machine could start with.
    """
    root = tmp_path_factory.mktemp("repository")
    plain = {"wal_flush_seconds": 0.2, "backup_codec": "lz4", "age_recipients": "", "age_identity_file": None}
    with reachable_folder() as places:
        with scratch_server(max_prepared_transactions="5") as server:
            make_segments_small(server)
            for name in ("postgresql.conf", "pg_hba.conf"):
                (server.server.data_dir / name).unlink()
            own = server.settings(settings, **plain).at(root.as_uri())
            make_table_elsewhere(server)
            grown = places / "grown"
            grown.mkdir(mode=0o700)
            hand_over(places, server.server.account)
            with receiving(own, server), server.connect() as connection:
                connection.execute("ALTER SYSTEM SET shared_preload_libraries = 'of_the_lost_machine'")
                connection.execute("ALTER SYSTEM SET work_mem = '5MB'")
                apart = take_backup(own)
                write(server, "early", last=True)
                time.sleep(0.1)
                (moment,) = values(connection, "SELECT clock_timestamp()")
                time.sleep(0.1)
                write(server, "late")
                connection.execute("ALTER TABLE words SET TABLESPACE pg_default")
                connection.execute("DROP TABLESPACE elsewhere")
                last = take_backup(own)
                connection.execute(f"CREATE TABLESPACE grown LOCATION '{grown}'".encode())
                connection.execute("ALTER TABLE words SET TABLESPACE grown")
                write(server, "segment", last=True)
                write(server, "piece")
                caught_up(server)
                write(server, "another")
                connection.execute("BEGIN")
                connection.execute("INSERT INTO words (word) VALUES ('undecided')")
                connection.execute("PREPARE TRANSACTION 'undecided'")
                caught_up(server)
        assert len(list(root.glob("*/wal/00000001/*.tail/*"))) > 1
        assert (last.encrypted, last.codec, last.wal_segment_bytes) == (False, "lz4", SEGMENT)
        yield Brought(root, own, apart, moment, last, grown)


def recover_to(moment: str) -> list[str]:
    """The sixth step, to a moment."""
    return [re.sub(r"'.*'", f"'{moment}'", said('RECOVERY_TARGET="')), *steps()[6]]


def follow_in_folder(brought: Brought, script: list[str], folder: Path, program: str) -> str:
    copied = folder / "brought"
    shutil.copytree(brought.root, copied)
    killed = copied / brought.last.system / "backups/20260131T020000Z-0000"
    killed.mkdir()
    (killed / "base.tar.lz4").touch()
    return follow(
        script, folder, brought.settings, program=program, variables={"REPOSITORY": str(copied / brought.last.system)}
    )


def test_to_a_moment_from_a_folder(brought: Brought, folder: Path) -> None:
    """Not encrypted, lz4, small segments, a tablespace without an incremental backup."""
    script = typed(brought.apart, recover_to(brought.moment.isoformat(sep=" ")), again=(3, 5))
    printed = follow_in_folder(brought, script, folder, "/bin/sh")
    assert content(folder, "words") == ["early"]
    assert printed.count(said("last completed")) == 1
    (space,) = brought.apart.tablespaces
    assert tablespaces(folder) == {str(space.oid): folder / f"target/spaces/{space.oid}"}
    assert content(folder, "setting") == ["5MB"]
    assert set(re.findall(r"^(\S+) ended 20", printed, re.MULTILINE)) == {brought.apart.id, brought.last.id}
    assert "20260131T020000Z-0000 ended" not in printed


def test_to_the_end_from_a_folder(brought: Brought, folder: Path) -> None:
    """In bash, and PostgreSQL gives up twice. The tablespace is later than the backup, a transaction is undecided."""
    recover = [
        f"mv {brought.grown} {brought.grown}.lost",
        *recover_to("2100-01-01 00:00:00+00"),
        f"grep -q '{said('Create this directory')}' \"$TARGET/log\"",
        f"mkdir {brought.grown}",
        *steps()[6],
        f"grep -q '{said('recovery ended')}' \"$TARGET/log\"",
        said("RECOVERY_TARGET=(?=`)"),
        *steps()[6],
    ]
    follow_in_folder(brought, typed(brought.last, recover), folder, "bash")
    assert content(folder, "words") == ["early", "late", "segment", "piece", "another"]
    assert list(tablespaces(folder).values()) == [brought.grown]
    assert content(folder, "prepared") == ["undecided"]


def test_the_packages_are_those_of_the_list_that_tests_install() -> None:
    named = re.findall(r"`([a-z0-9]+)`", PAGE.read_text().partition("## 1.")[0].partition("- `postgresql")[0])
    assert named == ["awscli", "age", "zstd", "lz4"]
    assert set(named) <= set(re.sub("#.*", "", DEBIAN.read_text()).split())
