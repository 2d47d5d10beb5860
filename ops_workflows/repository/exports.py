"""What was exported before it was dropped: one Parquet file and its record for each month of a log.

exports/<database>/<export id>/<table>.parquet  export.json
"""

from datetime import datetime
from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from ops_workflows.repository.backup import StoredArchive
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.proofs import read_each

RECORD = "export.json"  # written last: an export without it does not exist


class Export(BaseModel):
    """One whole export."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1] = 1
    id: str = Field(description="Sorts by time; of the form of a backup's id.")
    system: str = Field(description="PostgreSQL's system identifier.")
    database: str
    table: str = Field(description="Whose rows they are, in schema public.")
    rows: int
    start: datetime = Field(description="Of the rows' time; the end is not in it.")
    end: datetime
    finished_at: datetime
    recipients: tuple[str, ...] = Field((), description="Public keys that the file is encrypted to.")
    objects: tuple[StoredArchive, ...]


def export_folder(repository: Repository, database: str) -> str:
    """What the keys of all exports of a database begin with."""
    return f"{repository.layout.exports}{quote(database, safe='')}/"


def store_export(repository: Repository, export: Export) -> str:
    """Make an export exist; the key of its record.

    Raises:
        StorageError: The bucket did not take it.
    """
    key = f"{export_folder(repository, export.database)}{export.id}/{RECORD}"
    repository.store.put(key, export.model_dump_json(indent=2).encode(), if_absent=True, lock=True)
    return key


def exports(repository: Repository) -> list[Export]:
    """Every export that can be read, oldest first.

    Raises:
        StorageError: The bucket did not answer.
    """
    keys = [found.key for found in repository.store.objects(repository.layout.exports) if found.key.endswith(RECORD)]
    readable, _ = read_each(Export, repository.store, keys)
    return sorted(readable.values(), key=lambda each: each.finished_at)


def sweep_exports(repository: Repository, database: str) -> list[str]:
    """Remove what killed exports of a database left, a sentence for each. Only for whoever is the only one to export.

    One that is whole always stays: a later one of the same month does not make it superfluous, for the log may have
    lost the rows meanwhile, and what it remembers of them as well.
    """
    store, prefix = repository.store, export_folder(repository, database)
    pending = list(store.pending_uploads(prefix))
    for upload in pending:
        store.abort_upload(upload.key, upload.upload_id)
    found = [each.key for each in store.objects(prefix)]
    whole = {key.rpartition("/")[0] for key in found if key.endswith(f"/{RECORD}")}
    debris = [key for key in found if key.rpartition("/")[0] not in whole]
    store.delete(debris)
    return [f"Removed {key}: its export was never finished." for key in (*(each.key for each in pending), *debris)]
