"""Where the logical dumps lie in the bucket, and which there are; read from the bucket alone, like all catalogues.

<prefix>/<system identifier>/dumps/<dump id>/<database>.dump  globals.sql  settings.json  fingerprint.json  dump.json
"""

import hashlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

from ops_workflows.errors import IntegrityError, RefusedError
from ops_workflows.repository.backup import read
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.dump import Dump, Fingerprint
from ops_workflows.repository.records import Catalogue, read_records
from ops_workflows.storage.fetch import fetch

RECORD = "dump.json"  # written last: a dump without it does not exist
FINGERPRINT = "fingerprint.json"
GLOBALS = "globals.sql"
SETTINGS = "settings.json"


def object_name(database: str) -> str:
    """The last part of the key of a database's dump; a name may hold anything, a slash too."""
    return f"{quote(database, safe='')}.dump"


@dataclass(frozen=True, slots=True)
class Dumps:
    """The dumps in a repository."""

    repository: Repository

    @property
    def prefix(self) -> str:
        """What the keys of all dumps begin with."""
        return self.repository.layout.dumps

    def key(self, dump_id: str, name: str = "") -> str:
        """The key of one of a dump's objects, or what all of them begin with."""
        return f"{self.prefix}{dump_id}/{name}"

    def catalogue(self) -> Catalogue[Dump]:
        """What dumps there are, and which of them have a record that cannot be read.

        Raises:
            StorageError: The bucket did not answer.
        """
        store = self.repository.store
        keys = [found.key for found in store.objects(self.prefix) if found.key.endswith(f"/{RECORD}")]
        return read_records(Dump, store, keys)

    def all(self) -> list[Dump]:
        """Every whole dump whose record can be read, oldest first.

        Raises:
            StorageError: The bucket did not answer.
            IntegrityError: There are dumps, and the record of none can be read.
        """
        known = self.catalogue()
        return list(known.readable or known.complete())

    def find(self, dump_id: str, database: str | None = None) -> Dump:
        """A dump by its id, or the newest by the word `latest`.

        Args:
            dump_id: Which.
            database: Of `latest`, the newest that has this database.

        Raises:
            RefusedError: There is none.
            IntegrityError: Its record cannot be read, or that of another that might be the one.
        """
        known = self.catalogue()
        if dump_id in known.damaged:
            raise IntegrityError(known.damaged[dump_id])
        if dump_id == "latest":
            dumps = [dump for dump in known.readable if database is None or dump.has(database)]
            if not dumps:
                known.complete()  # what is looked for may be among the damaged
        else:
            dumps = [dump for dump in known.readable if dump.id == dump_id]
        if not dumps:
            of = f" of database {database}" if database and dump_id == "latest" else ""
            what = "no dump" if dump_id == "latest" else f"no dump {dump_id}"
            raise RefusedError(
                f"There is {what}{of} in {self.repository.store}: see `ops dumps`, take one by `ops dump`."
            )
        return dumps[-1]

    def fingerprint(self, dump: Dump) -> Fingerprint:
        """What every table of a dump held.

        Raises:
            ConfigurationError: It is encrypted to other keys than ours.
            IntegrityError: It is missing or altered.
            StorageError: The bucket did not answer.
        """
        stored = dump.object(FINGERPRINT)
        key = self.key(dump.id, stored.name)
        body = self.repository.store.get(key)
        if hashlib.sha256(body).hexdigest() != stored.sha256:
            raise IntegrityError(f"{key} in {self.repository.store} is altered: it is not what was stored.")
        return read(Fingerprint, self.repository.keys.open(body, key), key)

    def require_keys(self, dump: Dump) -> None:
        """See to it, before any work, that a dump can be read.

        Raises:
            ConfigurationError: It is encrypted, and to other keys than ours.
        """
        if dump.recipients:
            self.repository.keys.require(dump.recipients, f"Dump {dump.id}")

    @contextmanager
    def open(
        self, dump: Dump, database: str, *, threads: int, progress: Callable[[int], None] = lambda _bytes: None
    ) -> Iterator[Iterator[bytes]]:
        """The dump of one database as a stream, decrypted, which may be left before its end.

        Args:
            dump: One of `all`.
            database: Its name.
            threads: Ranges to fetch at once.
            progress: Called with the bytes of each range that has arrived.

        Raises:
            RefusedError: The database is not in this dump.
            ConfigurationError: It is encrypted to other keys than ours.
            IntegrityError: The object is missing, truncated or altered; the last is known only at its end.
            StorageError: The bucket did not answer.
        """
        stored = dump.object(dump.database(database).object)
        key, store = self.key(dump.id, stored.name), self.repository.store
        pieces = fetch(store, key, size=stored.size, sha256=stored.sha256, threads=threads, progress=progress)
        try:
            with self.repository.keys.opened(pieces, key) as plain:
                yield plain
        finally:
            if isinstance(pieces, Generator):
                pieces.close()  # now, and not when it is collected: it has threads

    def sweep(self) -> list[str]:
        """Remove what killed dumps left: pending uploads and objects of no dump. One sentence for each.

        Only for whoever holds the lock of dumps: to everyone else a running dump looks just the same.
        """
        store, said = self.repository.store, []
        for pending in store.pending_uploads(self.prefix):
            store.abort_upload(pending.key, pending.upload_id)
            said.append(f"Aborted the orphaned upload of {pending.key}, begun {pending.begun:%Y-%m-%d %H:%M:%S} UTC.")
        keys = [found.key for found in store.objects(self.prefix)]
        whole = {key.removesuffix(RECORD) for key in keys if key.endswith(f"/{RECORD}")}
        debris = [key for key in keys if f"{key.rpartition('/')[0]}/" not in whole]
        store.delete(debris)
        said.extend(f"Removed {key}: its dump was never finished." for key in debris)
        return said
