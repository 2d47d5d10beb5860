"""An encrypted repository beside the other one, and the keys that open it or do not."""

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops_workflows.faults.source import Source
from ops_workflows.repository.backup import Backup
from ops_workflows.settings import Settings
from ops_workflows.storage.encryption import new_identity, public_keys


@dataclass(frozen=True, slots=True)
class Sealed:
    """A backup that was encrypted to a first pair of keys, with log behind it that was encrypted to it, too.

    Attributes:
        source: The server, with settings that encrypt.
        backup: The backup.
        folder: Of the identity files; private, and gone afterwards.
    """

    source: Source
    backup: Backup
    folder: Path

    def settings(self, identity: str | None, recipients: str | None = None) -> Settings:
        """Settings with the identity file of that name; None for none.

        Args:
            identity: `first`, `second`, or `both`.
            recipients: Whose public keys what is written is encrypted to. Default: the first pair's.
        """
        keys = public_keys(self.folder / (recipients or "first"))
        file = self.folder / identity if identity else None
        return self.source.settings.model_copy(update={"age_identity_file": file, "age_recipients": ",".join(keys)})


@contextmanager
def sealed(source: Source) -> Iterator[Sealed]:
    """Back the server up once more, encrypted, under a prefix of its own."""
    with tempfile.TemporaryDirectory(prefix="ops_faults_") as name:
        folder = Path(name)
        texts = {"first": new_identity(), "second": new_identity()}
        for which, text in (texts | {"both": texts["second"] + texts["first"]}).items():
            (folder / which).touch(mode=0o600)
            (folder / which).write_text(text)
        mine = source.at(
            **beside(source.settings, "sealed"),
            wal_slot=f"ops_sealed_{secrets.token_hex(3)}",
            age_recipients=",".join(public_keys(folder / "first")),
            age_identity_file=folder / "first",
        )
        yield Sealed(mine, mine.back_up_and_plant(), folder)


def beside(settings: Settings, name: str) -> dict[str, object]:
    """What of the settings leads to another place of that name in the same repository."""
    if settings.repository_folder is None:
        return {"s3_prefix": f"{settings.s3_prefix}/{name}"}
    folder = settings.repository_folder / name
    folder.mkdir(exist_ok=True)
    return {"repository_url": folder.as_uri()}
