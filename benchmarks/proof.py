"""What proof costs: every byte of a backup hashed, a hundred backups looked at, and a whole drill."""

import json
from collections.abc import Callable
from datetime import timedelta
from importlib.resources import files

from benchmarks.bucket import NAME, REGION, bucket
from benchmarks.claims import MOST_CHECKSUM, MOST_DRILL_SECONDS, MOST_PROOF_BYTES, MOST_STORED_SECONDS
from benchmarks.contender import Stage
from benchmarks.data import Cluster
from benchmarks.machine import wait_for_quiet
from benchmarks.measure import Measured, measure
from benchmarks.ours import OPS, Ours
from benchmarks.peers import PgBackRest
from benchmarks.table import Row, judge
from benchmarks.workplace import GB, Workplace
from ops_workflows.postgres.connection import connect
from ops_workflows.postgres.programs import Programs
from ops_workflows.repository.catalogue import Repository, open_repository
from ops_workflows.repository.layout import RECORD, new_backup_id
from ops_workflows.repository.records import sealed
from ops_workflows.settings import Settings

_OURS = Ours("ours, zstd 3, TLS", "zstd", tls=True)
_PLAIN = Ours("ours, zstd 3", "zstd", tls=False, count_rows=True)
_PEER = PgBackRest("pgBackRest verify, zst 3, 2 processes, TLS", "zst", 3, bundle=False)
_BACKUPS = 100
_HEARTBEATS = files("ops_workflows.schema").joinpath("ops_migrations/000001_heartbeat.up.sql").read_text().encode()


def checksums(
    place: Workplace, programs: Programs, cluster: Cluster, runs: int, say: Callable[[str], None]
) -> list[Row]:
    """Both back the cluster up, and then look at what they have stored, by turns.

    Raises:
        BenchmarkError: One of the two found a fault.
    """
    section = f"verification of {cluster.database_bytes / GB:.1f} GB in the bucket, nothing on a disk"
    if missing := _PEER.missing():
        return [Row(section, _PEER.name, note=missing)]
    with bucket(place, tls=True) as shared:
        stage = Stage(place, programs, cluster, shared, place.make("turn"))
        _OURS.backup(stage)
        _PEER.backup(stage)
        ours: list[Measured] = []
        theirs: list[Measured] = []
        for number in range(1, runs + 1):
            ours.append(_quietly(stage, lambda: _verify(stage, _OURS, "checksummed")))
            theirs.append(_quietly(stage, lambda: _PEER.verify(stage)))
            say(f"round {number}: verified in {ours[-1].seconds:.1f} s, pgBackRest in {theirs[-1].seconds:.1f} s")
    mine = Row(section, f"{_OURS.name}, checksummed", tuple(run.seconds for run in ours))
    peer = Row(section, _PEER.name, tuple(run.seconds for run in theirs))
    peak = Row(
        section, "memory of ours", tuple(run.peak_bytes / 1e6 for run in ours), "MB", bound=MOST_PROOF_BYTES / 1e6
    )
    return [mine, judge(peer, mine, MOST_CHECKSUM), peak.judged(max(peak.measured) <= MOST_PROOF_BYTES / 1e6)]


def stored(place: Workplace, programs: Programs, cluster: Cluster, runs: int) -> list[Row]:
    """A hundred backups, of which a listing tells whether all their objects are there."""
    with bucket(place, tls=False) as shared:
        stage = Stage(place, programs, cluster, shared, place.make("turn"))
        _PLAIN.backup(stage)
        _multiply(open_repository(_settings(stage)), _BACKUPS)
        done = [_quietly(stage, lambda: _verify(stage, _PLAIN, "stored", "--backup=all")) for _ in range(runs)]
    section = f"stored, of {_BACKUPS} backups"
    row = Row(section, "ours, the whole command", tuple(run.seconds for run in done), bound=MOST_STORED_SECONDS)
    return [row.judged((row.median or 0) <= MOST_STORED_SECONDS)]


def drill(place: Workplace, programs: Programs, cluster: Cluster, runs: int) -> list[Row]:
    """The whole drill up to `exact`, pg_amcheck included, and what each phase takes of it."""
    with connect(cluster.server.dsn()) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS ops")
        connection.execute(_HEARTBEATS)
    with bucket(place, tls=False) as shared:
        stage = Stage(place, programs, cluster, shared, place.make("turn"))
        env = _PLAIN.environment(
            stage,
            OPS_UPKEEP_DSN=f"postgresql:///postgres?host={stage.socket_folder}&user=postgres",
            OPS_SCRATCH_DIR=str(place.make("scratch")),
        )
        measure([*OPS, "wal", "catch-up", "--json"], log=stage.folder / "slot", env=env)
        _PLAIN.backup(stage)
        measure([*OPS, "canary"], log=stage.folder / "canary", env=env)
        command = [*OPS, "drill", "--backup=newest", "--json"]
        done = [_quietly(stage, lambda: measure(command, log=stage.folder / "drill", env=env)) for _ in range(runs)]
    section = f"drill of {cluster.database_bytes / GB:.1f} GB, to exact, PostgreSQL {programs.major}"
    whole = Row(section, "the whole command", tuple(run.seconds for run in done), bound=MOST_DRILL_SECONDS)
    phases = [json.loads(run.output)["seconds"] for run in done]
    return [
        whole.judged((whole.median or 0) <= MOST_DRILL_SECONDS),
        *(Row(section, name, tuple(each[name] for each in phases)) for name in phases[0]),
    ]


def _quietly(stage: Stage, work: Callable[[], Measured]) -> Measured:
    stage.cluster.flush()
    wait_for_quiet()
    return work()


def _verify(stage: Stage, ours: Ours, rung: str, *more: str) -> Measured:
    command = [*OPS, "verify", f"--rung={rung}", "--again", "--json", *more]
    return measure(command, log=stage.folder / "verify", env=ours.environment(stage))


def _settings(stage: Stage) -> Settings:
    return Settings(
        s3_bucket=NAME,
        s3_endpoint_url=stage.bucket.url,
        s3_region=REGION,
        s3_access_key_id=stage.bucket.access_key_id,
        s3_secret_access_key=stage.bucket.secret_access_key,
    )


def _multiply(repository: Repository, count: int) -> None:
    """Copies of the one backup that there is, each under an id of its own, so that there are `count`."""
    first = repository.find("latest")
    contents = {
        each.name: repository.store.get(repository.layout.backup(first.id, each.name)) for each in first.objects
    }
    for number in range(1, count):
        finished = first.finished_at - timedelta(days=number)
        copy_id = new_backup_id(finished)
        objects = []
        for each in first.objects:
            put = repository.store.put(repository.layout.backup(copy_id, each.name), contents[each.name])
            objects.append(each.model_copy(update={"etag": put.etag, "checksum": put.checksum}))
        made = first.model_copy(update={"id": copy_id, "finished_at": finished, "objects": tuple(objects)})
        repository.store.put(repository.layout.backup(copy_id, RECORD), sealed(made))
