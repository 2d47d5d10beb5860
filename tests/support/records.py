"""Records of backups that nobody took, for what is decided from them."""

from datetime import UTC, datetime
from typing import Any

from ops_workflows.postgres.lsn import Lsn
from ops_workflows.repository.backup import Backup, StoredArchive, TablespaceRecord
from ops_workflows.storage.codec import Codec

MOMENT = datetime(2026, 1, 31, 2, 0, 0, tzinfo=UTC)


def archive(name: str, size: int = 10) -> StoredArchive:
    return StoredArchive(name=name, size=size, sha256="0" * 64, etag='"e"', checksum="c-1")


def backup(**more: Any) -> Backup:
    """A small full backup of PostgreSQL 18, with whatever is said to be different."""
    usual: dict[str, Any] = {
        "id": "20260131T020000Z-7c1e",
        "system": "7711281658445912347",
        "timeline": 1,
        "start_lsn": Lsn.parse("0/2000028"),
        "stop_lsn": Lsn.parse("0/2000120"),
        "started_at": MOMENT,
        "finished_at": MOMENT.replace(second=10),
        "server_version": 180006,
        "superuser": "postgres",
        "wal_segment_bytes": 16 * 1024 * 1024,
        "data_checksums": True,
        "codec": Codec.ZSTD,
        "compressed_by": "server",
        "database_bytes": 1000,
        "objects": (archive("base.tar.zst"), archive("backup_manifest")),
    }
    return Backup(**(usual | more))


def with_tablespaces(*oids: int) -> Backup:
    archives = [archive(f"{oid}.tar.zst") for oid in oids]
    spaces = tuple(TablespaceRecord(oid=oid, location=f"/srv/{oid}") for oid in oids)
    return backup(tablespaces=spaces, objects=(*archives, archive("base.tar.zst"), archive("backup_manifest")))
