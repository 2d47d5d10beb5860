"""Where the embedded stack keeps its things: everything below `.ops/` of one folder, and one command at a time there.

The servers' data may have to lie elsewhere: as root, servers run as an unprivileged account, which cannot enter a
project in, say, /root. Then `.ops/data` is a symbolic link to a folder in /var/lib.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ops_workflows.errors import ConfigurationError, RefusedError
from ops_workflows.postgres.account import Account, can_reach, hand_over
from ops_workflows.postgres.file_lock import HeldError, file_lock

DATA_OF_ROOT = Path("/var/lib/ops_workflows/stacks")
PATIENCE_SECONDS = 120  # for another `up` or `down` in the same folder to end


@dataclass(frozen=True)
class Layout:
    """The paths of the embedded stack of `folder`, which is absolute and without symbolic links."""

    folder: Path

    @property
    def home(self) -> Path:
        """Everything of the stack."""
        return self.folder / ".ops"

    @property
    def env_file(self) -> Path:
        """What the settings read."""
        return self.folder / ".env"

    @property
    def secrets(self) -> Path:
        """Passwords and keys; ours alone, mode 0700."""
        return self.home / "secrets"

    @property
    def state_file(self) -> Path:
        """The ports, as remembered from one `up` to the next."""
        return self.home / "stack.json"

    @property
    def data(self) -> Path:
        """The folders of the services; perhaps a symbolic link."""
        return self.home / "data"

    @property
    def scratch(self) -> Path:
        """Where restores that nobody keeps are made: a place that the servers' account can reach."""
        return self.data.resolve() / "scratch"

    @property
    def dagster(self) -> Path:
        """What Dagster keeps in files, as dagster.yaml says: what its runs printed, and their outputs; ours alone."""
        return self.home / "dagster"

    def service(self, name: str) -> Path:
        """The folder of one service, without symbolic links."""
        return self.data.resolve() / name

    def log(self, name: str) -> Path:
        """The log of one service."""
        return self.home / "logs" / f"{name}.log"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone in this folder for the length of a `with`.

        Raises:
            ConfigurationError: The folder is not there or not ours to write.
            RefusedError: Another `ops up` or `ops down` is at work here and does not end.
        """
        with ExitStack() as held:
            try:
                self.home.mkdir(exist_ok=True)
                self.home.chmod(0o711)  # to be passed through by the servers' account, and not to be listed
                held.enter_context(file_lock(self.home / "lock", patience=PATIENCE_SECONDS))
            except HeldError:
                raise RefusedError(
                    f"Another `ops up` or `ops down` is at work in {self.folder}: wait for it to end."
                ) from None
            except OSError as error:
                raise ConfigurationError(
                    f"{self.home} cannot be written ({error.strerror}): use a folder of your own, or the account that "
                    "started the stack here."
                ) from error
            yield

    @property
    def _data_of_root(self) -> Path:
        return DATA_OF_ROOT / hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]

    def is_foreign(self) -> bool:
        """Whether the data are those of another folder, because this one was copied or moved from there."""
        return self.data.is_symlink() and self.data.readlink() != self._data_of_root

    def refuse_foreign(self) -> None:
        """Raise RefusedError if the data are those of another folder."""
        if self.is_foreign():
            raise RefusedError(
                f"{self.data} leads to the data of a stack in another folder, from which this one was copied or moved: "
                "bring it back there, or begin anew here with `ops up --fresh`."
            )

    def prepare(self, account: Account | None, services: tuple[str, ...]) -> None:
        """Make the folders, those of the services owned by `account`."""
        for private in (self.secrets, self.home / "logs", self.dagster):
            private.mkdir(exist_ok=True)
            private.chmod(0o700)
        if account and not self.data.exists() and not can_reach(self.home, account):
            self._data_of_root.mkdir(parents=True, exist_ok=True)
            if not self.data.is_symlink():
                self.data.symlink_to(self._data_of_root)
        else:
            self.data.mkdir(exist_ok=True)
        self.data.chmod(0o711)
        self.scratch.mkdir(exist_ok=True)
        self.scratch.chmod(0o711)
        for name in services:
            folder = self.service(name)
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700)
            if account:
                os.chown(folder, account.uid, account.gid)

    def delete(self) -> None:
        """Remove all data, secrets and logs, those of Dagster's runs too; the services have been stopped."""
        if not self.is_foreign() and self.data.exists():
            shutil.rmtree(self.data.resolve())
        if self.data.is_symlink():
            self.data.unlink()
        for folder in (self.secrets, self.home / "logs", self.dagster):
            if folder.exists():
                shutil.rmtree(folder)
        self.state_file.unlink(missing_ok=True)


def write_private(path: Path, text: str, account: Account | None = None) -> None:
    """Write a file that its owner alone can read, in one step: whoever reads it sees the old text or the new one."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    # Path.open cannot make a file private from its first moment on; os.open can.
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    hand_over(part, account)
    part.replace(path)


def nearest_existing(folder: Path) -> Path:
    """`folder`, or the nearest folder above it that is there."""
    for candidate in (folder, *folder.parents):
        with suppress(PermissionError):
            if candidate.is_dir():
                return candidate
    return Path("/")
