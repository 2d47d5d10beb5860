"""The peers, each as its manual advises for a full backup of a database on the same machine into S3."""

import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks import barman
from benchmarks.bucket import HOST, NAME, REGION
from benchmarks.contender import Restored, Stage
from benchmarks.measure import Measured, measure
from ops_workflows.postgres.lsn import Lsn
from ops_workflows.settings import environment

_PGBACKREST = """\
[global]
repo1-type=s3
repo1-path=/pgbackrest
repo1-s3-bucket={bucket}
repo1-s3-endpoint={host}
repo1-s3-region={region}
repo1-s3-uri-style=path
repo1-s3-key={key}
repo1-s3-key-secret={secret}
repo1-storage-host={host}
repo1-storage-port={port}
repo1-storage-ca-file={ca_file}
repo1-bundle={bundle}
repo1-retention-full=2
process-max=2
compress-type={codec}
compress-level={level}
start-fast=y
archive-check={archived}
archive-async={archived}
lock-path={folder}/lock
spool-path={folder}/spool
log-path={folder}
log-level-file=off
log-level-console=warn

[benchmark]
pg1-path={data_dir}
pg1-socket-path={socket_folder}
pg1-user=postgres
"""


@dataclass(frozen=True)
class PgBackRest:
    """pgBackRest with two processes, as https://pgbackrest.org/configuration.html has it.

    Attributes:
        name: How it is called in the table.
        codec: `zst` or `lz4`.
        level: Of the codec.
        bundle: Whether small files are stored together.
        archived: Whether the server archives its WAL by it, asynchronously, as it must for recovery to a moment.
    """

    name: str
    codec: str
    level: int
    bundle: bool
    archived: bool = False
    tls: bool = True  # it knows nothing else

    def missing(self) -> str | None:
        """The package, if it is not installed."""
        return None if shutil.which("pgbackrest") else "not installed: apt install pgbackrest"

    def backup(self, stage: Stage) -> Measured:
        """`pgbackrest backup`, in a stanza that was created before. Unless `archived`, WAL is left out."""
        text = _PGBACKREST.format(
            bucket=NAME, host=HOST, region=REGION, port=stage.bucket.port, ca_file=stage.bucket.ca_file,
            key=stage.bucket.access_key_id, secret=stage.bucket.secret_access_key, codec=self.codec, level=self.level,
            bundle="y" if self.bundle else "n", folder=stage.folder,
            archived="y" if self.archived else "n", data_dir=stage.cluster.server.data_dir,
            socket_folder=stage.socket_folder,
        )  # fmt: skip
        stage.place.write_private(stage.folder / "pgbackrest.conf", text)
        self._run(stage, "stanza-create")
        return self._run(stage, "backup", "--type=full")

    def restore(self, stage: Stage, target: Path) -> Restored | None:
        """`pgbackrest restore`."""
        return Restored(self._run(stage, "restore", f"--pg1-path={target}"))

    def restore_to(self, stage: Stage, target: Path, lsn: Lsn) -> Measured:
        """`pgbackrest restore` with what a server that is started over it needs to recover up to a place of the log."""
        options = ["--type=lsn", f"--target={lsn}", "--target-action=promote", f"--pg1-path={target}"]
        return self._run(stage, "restore", *options)

    def verify(self, stage: Stage) -> Measured:
        """`pgbackrest verify`: every file in the bucket is read and hashed."""
        return self._run(stage, "verify")

    def _run(self, stage: Stage, command: str, *more: str) -> Measured:
        log = stage.folder / f"pgbackrest-{command}"
        line = ["pgbackrest", *_pgbackrest_options(stage.folder), *more, command]
        return measure(line, log=log, account=stage.place.account, env=_environment(stage))


@dataclass(frozen=True)
class Barman:
    """Barman's barman-cloud-backup, as https://docs.pgbarman.org/release/latest/user_guide/barman_cloud.html has it."""

    name: str
    tls: bool = False

    def missing(self) -> str | None:
        """The package, if it cannot be installed."""
        return barman.missing()

    def backup(self, stage: Stage) -> Measured:
        """`barman-cloud-backup --zstd`. WAL would come by archiving, and is left out."""
        command: list[str | Path] = [
            *(barman.program(), "--cloud-provider=aws-s3", f"--endpoint-url={stage.bucket.url}", "--zstd", "--jobs=2"),
            *("--immediate-checkpoint", f"--host={stage.socket_folder}", "--user=postgres"),
            *(f"s3://{NAME}/barman", "benchmark"),
        ]
        env = _environment(stage) | {
            "AWS_ACCESS_KEY_ID": stage.bucket.access_key_id,
            "AWS_SECRET_ACCESS_KEY": stage.bucket.secret_access_key,
            "AWS_DEFAULT_REGION": REGION,
        }
        return measure(command, log=stage.folder / "barman-backup", env=env)  # as ours: by whoever runs the benchmark

    def restore(self, _stage: Stage, _target: Path) -> Restored | None:
        """Not compared."""
        return None


@dataclass(frozen=True)
class PgBaseBackup:
    """PostgreSQL's own pg_basebackup, to a local file: no bucket at all, so the least that a backup can take."""

    name: str
    tls: bool = False

    def missing(self) -> str | None:
        """It comes with the server."""
        return None

    def backup(self, stage: Stage) -> Measured:
        """`pg_basebackup` with compression by the server, as ours; it too ends when its files are on the disk."""
        command: list[str | Path] = [
            *(stage.programs.path("pg_basebackup"), "--format=tar", f"--pgdata={stage.folder}/base"),
            *("--compress=server-zstd:level=3,workers=2", "--wal-method=fetch", "--checkpoint=fast"),
            *("--manifest-checksums=SHA256", f"--host={stage.socket_folder}", "--username=postgres", "--no-password"),
        ]
        log = stage.folder / "pg_basebackup"
        return measure(command, log=log, account=stage.place.account, env=_environment(stage))

    def restore(self, _stage: Stage, _target: Path) -> Restored | None:
        """Not compared."""
        return None


def archive_command(folder: Path) -> str:
    """For a server whose pgBackRest, `archived`, is configured in that folder."""
    return (
        shlex.join([shutil.which("pgbackrest") or "pgbackrest", *_pgbackrest_options(folder), "archive-push"]) + " %p"
    )


def _pgbackrest_options(folder: Path) -> list[str]:
    return [f"--config={folder}/pgbackrest.conf", "--stanza=benchmark"]


def _environment(stage: Stage) -> dict[str, str]:
    # Settings of these programs, or a proxy's, that the caller may have set are not the benchmark's.
    foreign = ("OPS_", "AWS_", "PGBACKREST_")
    kept = {name: value for name, value in environment().items() if not name.startswith(foreign)}
    return kept | {"HOME": str(stage.folder), "TMPDIR": str(stage.folder), "PATH": os.defpath}
