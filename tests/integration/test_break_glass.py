"""docs/break-glass.md, executed as it stands: the database comes back without this project."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ops_workflows.backup.policy import Kind
from ops_workflows.backup.take import take_backup
from ops_workflows.backup.wal_receiver import catch_up
from ops_workflows.local.stack import Stack
from ops_workflows.postgres.account import hand_over, identity, server_account
from ops_workflows.postgres.programs import find_programs
from ops_workflows.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "break-glass.md"
ASK = """
deadline=$(($(date +%s) + 60))
until psql -qAtc 'select not pg_is_in_recovery()' | grep -q t; do
    [ "$(date +%s)" -lt "$deadline" ] || exit 9
    sleep 0.2
done
psql -qAtc 'select count(*) from break_glass' >"$TARGET/answer"
pg_ctl -D "$TARGET/data" -w -m fast stop
"""


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that the servers' account can get to, which it cannot in pytest's own."""
    with tempfile.TemporaryDirectory(prefix="break-glass-") as name:
        yield Path(name)


@pytest.mark.timeout(180)
def test_the_page_brings_every_row_back(stack: Stack, settings: Settings, open_path: Path) -> None:
    for program in ("aws", "age", "zstd"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install awscli age zstd")
    owner = settings.require("owner_dsn")
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("drop table if exists break_glass")
        connection.execute("create table break_glass as select generate_series(1, 1000) as n")
        take_backup(settings)
        connection.execute("insert into break_glass select generate_series(1001, 2000)")
        incremental = take_backup(settings, kind=Kind.INCREMENTAL)
        assert incremental.parent is not None
        connection.execute("insert into break_glass select generate_series(2001, 3000)")
    catch_up(settings, 60)

    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 8
    script = open_path / "page.sh"
    script.write_text("set -eu\n" + "\n".join(blocks) + ASK)
    account = server_account(settings.server_user)
    target, key = open_path / "target", open_path / "identity"
    target.mkdir()
    if settings.age_identity_file:
        shutil.copy(settings.age_identity_file, key)
    hand_over(open_path, account)
    bin_dir = find_programs(settings.pg_bin_dir).bin_dir
    environment = {
        "PATH": f"{bin_dir}:{os.environ['PATH']}",
        "HOME": str(open_path),
        "REPOSITORY": f"s3://{settings.s3_bucket}/{settings.s3_prefix}/{incremental.system}",
        "BACKUP": incremental.id,
        "TARGET": str(target),
        "IDENTITY": str(key),
        "S3": f"aws --endpoint-url {settings.s3_endpoint_url} s3",
        "AWS_ACCESS_KEY_ID": settings.require("s3_access_key_id"),
        "AWS_SECRET_ACCESS_KEY": settings.require("s3_secret_access_key"),
        "AWS_DEFAULT_REGION": settings.s3_region,
        "POSTGRES_OPTIONS": f"-c listen_addresses= -c unix_socket_directories={open_path} -c hba_file={open_path}/hba",
        "PGHOST": str(open_path),
        "PGUSER": incremental.superuser,
        "PGDATABASE": "panchangam",
    }
    (open_path / "hba").write_text("local all all trust\n")
    hand_over(open_path, account)
    with (open_path / "output").open("wb") as output:
        done = subprocess.run(
            ["/bin/sh", str(script)],
            env=environment,
            cwd=open_path,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=150,
            check=False,
            **identity(account),
        )
    assert done.returncode == 0, (open_path / "output").read_text()[-3000:]
    assert (target / "answer").read_text().strip() == "3000"
