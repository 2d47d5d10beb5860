"""Every environment variable of this project, read once into one typed object. Nothing else reads the environment.

Values come from the environment, then from `.env` in the current folder, then from files named after the variable in
`OPS_SECRETS_DIR` (the form in which compose and Kubernetes mount secrets). Connection strings need no password: name a
`passfile` in them, as libpq does.
"""

import os
import re
from datetime import date
from functools import cache
from pathlib import Path
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from ops_workflows.errors import ConfigurationError

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
Codec = Literal["auto", "zstd", "lz4", "client-zstd"]
Encryption = Literal["none", "AES256", "aws:kms"]
ObjectLock = Literal["none", "GOVERNANCE", "COMPLIANCE"]
BackupMethod = Literal["auto", "physical", "dumps"]
MOST_DAYS = 36_525
"""A hundred years: how far back from today every calendar still reaches."""

_FOLDER_URL = re.compile(r"file:///[^?#]+")
_LEVELS = r"^\d+(\.\d+)?,\d+(\.\d+)?$"
_BUCKET_URL = re.compile(r"s3://(?P<name>[^/?#]+)(?P<prefix>(/[^?#]*)?)")


class Settings(BaseSettings):
    """What this installation works on and within which bounds. One field is one environment variable `OPS_…`."""

    model_config = SettingsConfigDict(env_prefix="OPS_", extra="ignore", frozen=True, env_ignore_empty=True)

    home: Path = Field(Path(".ops"), description="Folder of this installation: scratch servers, the embedded stack.")

    # The database. Three roles, as deploy/postgres/roles.sql creates them.
    backup_dsn: SecretStr | None = Field(None, description="libpq URL of the role that backs up (REPLICATION, read).")
    standby_dsn: SecretStr | None = Field(
        None,
        description="libpq URL of a standby for the role that backs up: backups then burden it and not the primary.",
    )
    standby_most_lag_seconds: float = Field(
        60, ge=0, description="A standby that is further behind is not backed up from; the primary is."
    )
    owner_dsn: SecretStr | None = Field(None, description="libpq URL of the role that owns the application's schema.")
    upkeep_dsn: SecretStr | None = Field(None, description="libpq URL of the role for upkeep: heartbeats, pruning.")
    pg_bin_dir: Path | None = Field(
        None, description="Folder of PostgreSQL's server programs, of the same major version. Default: the bundled."
    )
    dagster_database_url: SecretStr | None = Field(
        None, description="Dagster's own storage, a PostgreSQL apart from the application's; dagster.yaml reads it."
    )
    connect_timeout_seconds: int = Field(10, ge=1, description="How long to wait for a connection to PostgreSQL.")
    stall_seconds: int = Field(
        120, ge=5, description="A backup or query that hears nothing from PostgreSQL for so long is given up."
    )

    # The repository: a folder, or else the bucket.
    repository_url: str | None = Field(None, description="file:///FOLDER to keep backups in. Default: the bucket.")
    system: str | None = Field(
        None,
        pattern=r"^\d+$",
        description="System identifier of the cluster, where the repository holds several. Default: the only one.",
    )
    age_recipients: str = Field(
        "", description="Public keys, age1…, with commas between them, that backups and WAL are encrypted to."
    )
    age_identity_file: Path | None = Field(
        None, description="File with secret keys to read them with, as age-keygen writes it; not needed to back up."
    )

    # The bucket.
    s3_bucket: str | None = Field(None, description="Bucket of the repository.")
    s3_prefix: str = Field("ops", description="Everything of ours lies under this prefix of the bucket.")
    s3_endpoint_url: str | None = Field(None, description="For S3 servers other than AWS, such as SeaweedFS or MinIO.")
    s3_region: str = Field("us-east-1", description="Region of the bucket.")
    s3_ca_file: Path | None = Field(None, description="CA certificates to trust for the S3 endpoint, PEM.")
    s3_access_key_id: SecretStr | None = Field(None, description="Default: boto3's own search, e.g. an instance role.")
    s3_secret_access_key: SecretStr | None = Field(None, description="Belongs to OPS_S3_ACCESS_KEY_ID.")
    s3_timeout_seconds: int = Field(30, ge=1, description="How long one S3 call may be silent before it is retried.")
    s3_attempts: int = Field(5, ge=1, le=20, description="How often one S3 call is tried.")
    s3_threads: int = Field(4, ge=1, le=32, description="Parts in flight at once, in either direction.")
    s3_sse: Encryption = Field("none", description="Encryption by the S3 server that is asked of it for every object.")
    s3_sse_kms_key_id: str | None = Field(None, description="For aws:kms. Default: the bucket's key.")
    s3_object_lock_mode: ObjectLock = Field(
        "none", description="How backups, dumps and WAL segments are locked against deletion; the bucket must offer it."
    )
    s3_object_lock_days: int = Field(30, ge=1, description="For how long they are locked.")

    # Backups.
    backup_method: BackupMethod = Field(
        "auto",
        description="physical: base backups and WAL, beside dumps. dumps: those only. auto: physical, but on a managed "
        "service that is recognised and offers no replication protocol.",
    )
    backup_codec: Codec = Field("auto", description="auto: the server's zstd, else its lz4, else zstd on our side.")
    backup_zstd_level: int = Field(3, ge=1, le=19, description="zstd level of backups.")
    backup_zstd_workers: int = Field(2, ge=0, le=32, description="Threads that compress, on the server where it can.")
    backup_count_rows: bool = Field(
        True, description="Count every table after a backup, so that its restore can be compared row for row."
    )

    backup_full_weekday: Weekday = Field(
        "sunday",
        description="Nightly backups are full on this day (UTC), and incremental on the others where possible.",
    )
    backup_longest_chain: int = Field(7, ge=1, description="Most backups that a restore may have to put together.")

    dump_hash_max_bytes: int = Field(
        10 * 1024**3, ge=0, description="Tables above this size are sampled, and not hashed whole, when dumped."
    )

    # Continuous WAL.
    wal_slot: str = Field("ops_wal", pattern="^[a-z0-9_]{1,63}$", description="Replication slot of the WAL receiver.")
    wal_application_name: str = Field(
        "ops_wal", description="Its name in pg_stat_replication; name it in synchronous_standby_names for RPO 0."
    )
    wal_flush_seconds: float = Field(
        10, ge=0, description="Longest that WAL stays unshipped; 0 ships at once, for synchronous commits."
    )
    wal_zstd_level: int = Field(
        1, ge=1, le=19, description="zstd level of WAL: higher ones take much longer and save little."
    )

    # Retention.
    keep_daily: int = Field(30, ge=1, description="Newest days (UTC) with a backup of which one is kept each.")
    keep_weekly: int = Field(8, ge=0, description="Likewise weeks, from Monday to Sunday.")
    keep_monthly: int = Field(12, ge=0, description="Likewise months.")
    keep_debris_hours: float = Field(
        24, ge=0, description="How long what a killed backup left is kept, should somebody still be writing it."
    )
    keep_versions_days: float = Field(
        7,
        ge=0,
        description="How long a versioned bucket keeps what was deleted or replaced, so that it can be had back.",
    )

    # The second repository.
    mirror_url: str | None = Field(
        None, description="file:///FOLDER or s3://BUCKET/PREFIX on the same S3 server, where all is copied to."
    )
    mirror_keep_daily: int | None = Field(None, ge=1, description="Days it keeps. Default: OPS_KEEP_DAILY.")
    mirror_keep_weekly: int | None = Field(None, ge=0, description="Weeks it keeps. Default: OPS_KEEP_WEEKLY.")
    mirror_keep_monthly: int | None = Field(None, ge=0, description="Months it keeps. Default: OPS_KEEP_MONTHLY.")

    # Restores and drills.
    scratch_dir: Path | None = Field(None, description="Where drills and checks restore to. Default: OPS_HOME/scratch.")
    server_user: str = Field("nobody", description="Account that PostgreSQL servers run as when we are root.")
    primary_data_dir: Path | None = Field(
        None, description="The primary's data directory, where it is on this machine: for restores in place."
    )
    proof_days: float = Field(
        7, ge=0, description="How long what was shown of a backup counts, if nothing of it has changed in the bucket."
    )
    drill_most_seconds: int = Field(3600, ge=60, description="A drill that takes longer is broken off and has failed.")
    smoke_file: Path = Field(
        Path("deploy/smoke.sql"), description="The application's own queries that a restored database has to answer."
    )
    rto_objective_seconds: int = Field(900, ge=1, description="Recovery time objective: from “go” to answering.")
    rpo_objective_seconds: int = Field(3600, ge=1, description="Recovery point objective: age of the newest row.")

    # Schema and workload.
    migrate_backup_hours: float = Field(
        26, gt=0, description="A migration rests on a proved backup that is no older; else one is taken first."
    )
    migrate_most_lock_seconds: float = Field(
        2, gt=0, description="Longest that a migration may keep others from reading or writing a table."
    )
    migrate_most_seconds: float = Field(3600, gt=0, description="Longest that all files of a migration may take.")
    rehearsal_hours: float = Field(24, gt=0, description="How long a rehearsal of the very same plan counts.")
    rehearsal_traffic_rate: float = Field(
        50, ge=0, description="Statements per second of the replayed traffic in rehearsals; 0 for none."
    )
    migrations_dir: Path = Field(Path("migrations"), description="The application's migrations, golang-migrate format.")
    traffic_file: Path = Field(
        Path("deploy/traffic.sql"),
        description="The application's traffic in small, that migrations are rehearsed under.",
    )

    # Analytics.
    analytics_since: date = Field(
        date(2020, 1, 1), description="The first day with partitions in Dagster; set it to that of the oldest query."
    )
    query_log_months_ahead: int = Field(
        3, ge=1, le=24, description="Months after this one for which the query log has partitions."
    )
    query_log_keep_months: int | None = Field(
        None,
        ge=1,
        le=1200,
        description="Whole months before this one that the raw query log keeps; what is older is dropped once its "
        "statistics agree and a proved backup holds it. Default: all.",
    )
    query_log_export: bool = Field(
        False, description="Whether a month goes into the bucket as a Parquet file before it is dropped."
    )

    # Valkey or Redis.
    redis_url: SecretStr | None = Field(
        None, description="redis:// URL of the application's cache; rediss:// for TLS, with an ACL user if it has one."
    )
    redis_password: SecretStr | None = Field(None, description="Its password, unless the URL has it.")
    redis_ca_file: Path | None = Field(
        None, description="CA certificates to trust for rediss://, PEM. Default: the system's."
    )
    redis_databases: str = Field(
        "", pattern=r"^(\d+(,\d+)*)?$", description="Numbers of its databases, with commas. Default: the URL's."
    )
    redis_expiring: str = Field(
        "panchangam:*",
        description="Patterns, with commas, of keys that have to expire. Default: the keys of cached calculations.",
    )
    redis_expiry_seconds: int = Field(
        30 * 86_400,
        ge=1,
        le=MOST_DAYS * 86_400,
        description="What such a key gets. Default: 30 days, as rows of panchangam_cache do.",
    )
    redis_stale: str = Field(
        "",
        description="Patterns, with commas, of keys that nobody may need, and that can be made anew. Default: none, "
        "for only you know them.",
    )
    redis_stale_days: float = Field(
        90,
        gt=0,
        le=MOST_DAYS,
        description="Unread for so long, they go. Default: three times what a cached calculation lives.",
    )
    redis_keys_per_second: int = Field(
        20_000,
        ge=100,
        le=10**9,
        description="How many are looked at. Default: an eighth of the 160,000 that one core scans.",
    )
    redis_most_seconds: float = Field(
        900, gt=0, le=86_400, description="Longest that a run may take. Default: half of what pruning the table may."
    )

    # Pruning the cache's table.
    prune_most_seconds: float = Field(
        1800,
        gt=0,
        le=86_400,
        description="Longest that a run may take, with pauses; a vacuum at its end has the rest, and 10 s in any case. "
        "Default: half of the hour of its promise.",
    )
    prune_most_rows: int = Field(
        10_000_000,
        ge=1,
        le=2**62,
        description="Most rows of a run. Default: about what 100 s of deleting, undisturbed, come to.",
    )
    prune_batch_seconds: float = Field(
        0.003,
        gt=0,
        le=10,
        description="How long a batch should take. Default: so short that no commit waits long for the log.",
    )
    prune_duty: float = Field(
        0.1,
        gt=0,
        le=1,
        description="Fraction of the time that batches fill while others are at work. Default: a tenth, at which some "
        "40,000 rows a second go.",
    )
    prune_unexpiring_days: float = Field(
        90,
        gt=0,
        le=MOST_DAYS,
        description="Rows without expiry go when older. Default: three times what those with one live.",
    )
    prune_far_days: float = Field(
        366,
        gt=0,
        le=MOST_DAYS,
        description="Rows that expire later than in so many days are reported, and never touched. Default: a year.",
    )
    prune_most_canary_ms: float = Field(
        50,
        gt=0,
        le=86_400_000,
        description="Pause while a lookup by key takes longer. Default: some hundred times what it takes idle.",
    )
    prune_most_lag_seconds: float = Field(
        10,
        ge=0,
        le=MOST_DAYS * 86_400,
        description="Pause while a standby is further behind. Default: a sixth of what backups put up with.",
    )
    prune_most_lag_bytes: int = Field(
        64 * 1024**2, ge=0, le=2**62, description="Likewise in the log. Default: four segments of 16 MiB."
    )
    prune_most_slot_bytes: int = Field(
        512 * 1024**2,
        ge=0,
        le=2**62,
        description="Pause while a slot keeps more of the log, or more of it waits for archiving. Default: half of the "
        "1 GB at which ours may be cut off.",
    )
    prune_pause_window: str | None = Field(
        None,
        pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$",
        description="HH:MM-HH:MM, UTC: pruning pauses in it, over midnight too. Default: none; it runs at night.",
    )
    prune_vacuum_fraction: float = Field(
        0.1, gt=0, le=1, description="Vacuum once so much is dead. Default: half of what autovacuum waits for."
    )

    # Dagster's own history.
    history_success_days: int = Field(
        30,
        ge=1,
        le=MOST_DAYS,
        description="Days that a run of Dagster which succeeded is kept. Default: what people look back at.",
    )
    history_failure_days: int = Field(
        180, ge=1, le=MOST_DAYS, description="Likewise one that failed or was cancelled. Default: six times as long."
    )
    history_partition_days: int = Field(
        400,
        ge=1,
        le=MOST_DAYS,
        description="Likewise the newest materialization or check of a partition, which is missing in the UI once its "
        "run is gone. Default: a year, and somewhat more to compare with.",
    )
    history_event_days: int = Field(
        14,
        ge=1,
        le=MOST_DAYS,
        description="Likewise events without a run, such as the 2,880 a day of wal_archive. Default: two weeks.",
    )
    history_most_runs: int = Field(
        5000, ge=1, description="Most runs to remove at once. Default: a hundred times what a day brings."
    )

    # Looking at tables.
    tables_most_bloat: float = Field(
        0.5, gt=0, le=1, description="Fraction of a table or index that may be dead or free. Default: a half."
    )
    tables_most_of_sequence: float = Field(
        0.75, gt=0, le=1, description="Fraction of a sequence's numbers that may be used. Default: three quarters."
    )
    tables_most_hold_seconds: float = Field(
        3600, gt=0, description="How long a transaction may keep vacuums from cleaning up. Default: an hour."
    )
    tables_unused_days: float = Field(
        30,
        gt=0,
        le=MOST_DAYS,
        description="How long an index lies idle before it is reported. Default: over a month's end.",
    )

    # Health checks: from which value on it is a warning, and from which on critical, with a comma between.
    health_standby_dsn: SecretStr | None = Field(
        None, description="libpq URL of the standby to look at, for the role that backs up. Default: OPS_STANDBY_DSN."
    )
    health_probe_seconds: int = Field(
        3, ge=2, le=5, description="How long a server may be silent. Default: what Patroni gives a PostgreSQL, too."
    )
    health_round_seconds: float = Field(
        7, ge=1, le=9.5, description="Longest that all checks may take together. Default: 10 s, less a program's start."
    )
    health_connections: str = Field(
        "0.9,0.95",
        pattern=_LEVELS,
        description="Fraction of max_connections in use. Default: that of check_postgres's backends.",
    )
    health_idle_seconds: str = Field(
        "300,3600",
        pattern=_LEVELS,
        description="How long a session is idle in a transaction. Default: five minutes; an hour, for which "
        "OPS_TABLES_MOST_HOLD_SECONDS lets one hold vacuums back.",
    )
    health_transaction_seconds: str = Field(
        "3600,21600",
        pattern=_LEVELS,
        description="How long a transaction is open, prepared ones too. Default: an hour, as above; six of them.",
    )
    health_blocked_seconds: str = Field(
        "5,60",
        pattern=_LEVELS,
        description="How long a session waits for a lock. Default: five of the server's deadlock_timeout; a minute, "
        "after which most applications have given up.",
    )
    health_lag_bytes: str = Field(
        "67108864,1073741824",
        pattern=_LEVELS,
        description="Log that a standby has not replayed. Default: four segments of 16 MiB, for which pruning pauses; "
        "1 GiB, the server's own max_wal_size.",
    )
    health_lag_seconds: str = Field(
        "10,60",
        pattern=_LEVELS,
        description="How far a standby is behind. Default: those of OPS_PRUNE_MOST_LAG_SECONDS and "
        "OPS_STANDBY_MOST_LAG_SECONDS.",
    )
    health_slot_bytes: str = Field(
        "1073741824,10737418240",
        pattern=_LEVELS,
        description="Log that a slot keeps on the server. Default: its own max_wal_size; ten of them.",
    )
    health_age: str = Field(
        "1300000000,1600000000",
        pattern=_LEVELS,
        description="Transactions since a database's oldest unfrozen row, of 2.1 billion. Default: check_postgres's "
        "txn_wraparound; the server's vacuum_failsafe_age.",
    )
    health_disk_free: str = Field(
        "0.1,0.05",
        pattern=_LEVELS,
        description="Fraction of the disk of OPS_PRIMARY_DATA_DIR that is free. Default: check_postgres's disk_space.",
    )
    health_deadlocks: str = Field(
        "24,240", pattern=_LEVELS, description="Deadlocks a day. Default: one an hour, ten an hour."
    )
    health_proved_hours: str = Field(
        "26,74",
        pattern=_LEVELS,
        description="Age of the newest proved backup. Default: a nightly one and its proof, as "
        "OPS_MIGRATE_BACKUP_HOURS; two nights more.",
    )
    health_rollup_hours: str = Field(
        "2,26",
        pattern=_LEVELS,
        description="How long an hour of the query log waits for its statistics. Default: as the check `fresh`; a day "
        "more.",
    )

    @field_validator("s3_prefix")
    @classmethod
    def _without_slashes(cls, prefix: str) -> str:
        return prefix.strip("/")

    @field_validator("prune_pause_window")
    @classmethod
    def _begins_and_ends(cls, window: str | None) -> str | None:
        if window is not None and len(set(window.split("-"))) == 1:
            raise ValueError("it begins when it ends: write HH:MM-HH:MM, or leave it out")
        return window

    @field_validator("repository_url")
    @classmethod
    def _names_a_folder(cls, url: str | None) -> str | None:
        if url is not None and not _FOLDER_URL.fullmatch(url):
            raise ValueError(f"{url!r} names no folder: write file:///FOLDER, with three slashes")
        return url

    @property
    def repository_folder(self) -> Path | None:
        """The folder that the repository is; None where it is a bucket."""
        return Path(unquote(urlsplit(self.repository_url).path)) if self.repository_url else None

    @property
    def repository_prefix(self) -> str:
        """What all keys of the repository begin with, without a slash at the end; nothing in a folder."""
        return "" if self.repository_url else self.s3_prefix

    def at(self, url: str) -> Self:
        """The settings with another repository: file:///FOLDER, or s3://BUCKET/PREFIX on the same S3 server.

        Raises:
            ConfigurationError: It is neither.
        """
        if _FOLDER_URL.fullmatch(url):
            return self.model_copy(update={"repository_url": url})
        if bucket := _BUCKET_URL.fullmatch(url):
            prefix = bucket["prefix"].strip("/")
            return self.model_copy(update={"repository_url": None, "s3_bucket": bucket["name"], "s3_prefix": prefix})
        raise ConfigurationError(f"{url!r} names no repository: write file:///FOLDER or s3://BUCKET/PREFIX.")

    def mirrored(self) -> Self | None:
        """The settings with the second repository in the place of the first, and what it is to keep; None without one.

        Raises:
            ConfigurationError: OPS_MIRROR_URL names no repository, or the first one.
        """
        if self.mirror_url is None:
            return None
        second = self.at(self.mirror_url)
        if _place(second) == _place(self):
            raise ConfigurationError("OPS_MIRROR_URL names the first repository: a second one has to lie elsewhere.")
        kept = {f"keep_{each}": getattr(self, f"mirror_keep_{each}") for each in ("daily", "weekly", "monthly")}
        return second.model_copy(update={name: value for name, value in kept.items() if value is not None})

    @property
    def scratch(self) -> Path:
        """Folder under which restores that nobody keeps are made, absolute."""
        return (self.scratch_dir or self.home / "scratch").absolute()

    def require(self, name: str) -> str:
        """The value of a setting that the work at hand cannot do without.

        Raises:
            ConfigurationError: It is not set; the text names its variable.
        """
        value = getattr(self, name)
        if value is None:
            variable = f"OPS_{name.upper()}"
            raise ConfigurationError(
                f"{variable} is not set: put it into the environment or into .env in this folder "
                "(`ops up` writes one for the embedded stack; `ops doctor` names all that is missing)."
            )
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)

    @classmethod
    def read(cls, folder: Path | None = None) -> Self:
        """Read the settings as they stand now, with `.env` taken from `folder` (default: the current one).

        Raises:
            ConfigurationError: A value cannot be right; the text names its variable, never the value. Or a file of them
                cannot be read.
        """
        env_file = (folder or Path.cwd()) / ".env"
        try:
            secrets = os.environ.get("OPS_SECRETS_DIR") or dotenv_values(env_file).get("OPS_SECRETS_DIR")
            if secrets and not Path(secrets).is_dir():
                raise ConfigurationError(
                    f"OPS_SECRETS_DIR is {secrets}, which is no folder: correct it, or leave it out."
                )
            return cls(_env_file=env_file, _secrets_dir=secrets)
        except (OSError, UnicodeDecodeError) as error:
            raise _unreadable(error, str(env_file)) from None
        except SettingsError as error:  # of a file in the secrets' folder
            raise _unreadable(error.__cause__, f"A file of ours in {secrets}") from None
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            variable = f"OPS_{'_'.join(str(part) for part in first['loc']).upper()}"
            raise ConfigurationError(f"{variable} cannot be used: {first['msg']}.") from None


def _unreadable(error: BaseException | None, file: str) -> ConfigurationError:
    if isinstance(error, OSError):
        return ConfigurationError(
            f"{error.filename or file} cannot be read ({error.strerror}): see that the account which runs this may."
        )
    return ConfigurationError(f"{file} is no text in UTF-8: write it anew.")


def _place(settings: Settings) -> tuple[Path | None, str | None, str]:
    folder = settings.repository_folder
    return (folder.resolve(), None, "") if folder else (None, settings.s3_bucket, settings.s3_prefix)


@cache
def settings() -> Settings:
    """The settings of this process, read at the first call."""
    return Settings.read()


def dotenv(folder: Path) -> dict[str, str]:
    """What `.env` in a folder sets, for a child process that does not read it by itself."""
    return {name: value for name, value in dotenv_values(folder / ".env").items() if value is not None}


def environment(**extra: str) -> dict[str, str]:
    """The environment to give a child process: ours, plus `extra`, without PostgreSQL's own variables.

    libpq and its programs take PGHOST, PGPASSWORD and their kin before anything else that they are not told; a child
    that speaks to a scratch server must not be able to reach another one because of them.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | extra
