"""Encryption in the age format: who may read is listed where it is written; who reads brings an identity file.

https://age-encryption.org/v1: what this makes, `age -d` opens, and the other way round. Every object is encrypted to
several public keys at once, so a host that backs up needs no secret, and a key in escrow can always read. The format is
authenticated: bytes that were altered, cut off or put in another order do not decrypt.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyrage

from ops_workflows.errors import ConfigurationError
from ops_workflows.storage import cipher
from ops_workflows.storage.cipher import Identities, NoKeyFitsError, Sealing

SUFFIX = ".age"
HEADER_BYTES = 16 * 1024  # more than the header of an object with a hundred recipients


@dataclass(frozen=True, slots=True)
class Keys:
    """With which keys a repository is written and read.

    Attributes:
        recipients: Public keys, age1…; without any, what is written is not encrypted.
        identity_file: The file with the secret keys to read with; None where nothing encrypted is to be read.
    """

    recipients: tuple[str, ...] = ()
    identity_file: Path | None = None

    @classmethod
    def of(cls, recipients: str, identity_file: Path | None) -> Self:
        """The keys that the settings name; the recipients with commas between them.

        Raises:
            ConfigurationError: One of the recipients is no public key.
        """
        names = tuple(name for part in recipients.split(",") if (name := part.strip()))
        for name in names:
            _recipient(name)
        return cls(names, identity_file)

    @property
    def suffix(self) -> str:
        """What the names of the objects that are written end with."""
        return SUFFIX if self.recipients else ""

    @property
    def can_open(self) -> bool:
        """Whether there is an identity file to read with."""
        return self.identity_file is not None

    def seal(self, plain: bytes) -> bytes:
        """A small object's bytes, encrypted if there is anybody to encrypt to."""
        if not self.recipients:
            return plain
        sealed: bytes = pyrage.encrypt(plain, [_recipient(name) for name in self.recipients])
        return sealed

    def sealing(self, write: Callable[[bytes], object]) -> Sealing | None:
        """A writer that encrypts a stream on its way to `write`; None where nothing is to be encrypted."""
        return Sealing([_recipient(name) for name in self.recipients], write) if self.recipients else None

    def open(self, stored: bytes, name: str) -> bytes:
        """What `seal` was given; the name's ending says whether it is encrypted.

        Raises:
            ConfigurationError: It was encrypted to keys that are not in the identity file, or there is no such file.
            IntegrityError: It is truncated or altered.
        """
        if not name.endswith(SUFFIX):
            return stored
        with self._fitting(name), cipher.told_apart(name):
            plain: bytes = pyrage.decrypt(stored, self._identities(name))
            return plain

    @contextmanager
    def opened(self, stored: Iterator[bytes], name: str) -> Iterator[Iterator[bytes]]:
        """The bytes before encryption as a stream, decrypted in a thread of its own, within flat memory.

        Args:
            stored: The object's bytes; they pass as they are unless its name ends in `.age`.
            name: Of the object.

        Raises:
            ConfigurationError: It was encrypted to keys that are not in the identity file, or there is no such file.
            IntegrityError: It is truncated or altered; known at its end, so nothing may be built on it before.
        """
        if not name.endswith(SUFFIX):
            yield stored
            return
        with cipher.opened(stored, self._identities(name), name) as plain:
            yield self._explained(plain, name)

    def require(self, recipients: Iterable[str], what: str) -> None:
        """See to it, before any work, that what was encrypted to these public keys can be read.

        Raises:
            ConfigurationError: No identity of ours is among them.
        """
        if not {str(identity.to_public()) for identity in self._identities(what)} & set(recipients):
            raise self._unfit(what)

    def require_header(self, header: bytes, name: str) -> None:
        """The same for an object of which only the first bytes are known, up to `HEADER_BYTES`.

        Raises:
            ConfigurationError: No identity of ours opens it.
            IntegrityError: They are no such header.
        """
        identities = self._identities(name)
        with self._fitting(name):
            try:
                pyrage.decrypt_io(io.BytesIO(header), io.BytesIO(), identities)
            except OSError:
                return  # a key opened it; that it breaks off behind its beginning is no wonder
            except pyrage.DecryptError as error:
                with cipher.told_apart(name):
                    raise error from None

    def _identities(self, what: str) -> Identities:
        if self.identity_file is None:
            raise ConfigurationError(
                f"{what} is encrypted and OPS_AGE_IDENTITY_FILE is not set: let it name the file with the secret key, "
                "AGE-SECRET-KEY-1…, of one of its recipients."
            )
        return _read_identities(self.identity_file)

    def _explained(self, plain: Iterator[bytes], name: str) -> Iterator[bytes]:
        with self._fitting(name):
            yield from plain

    @contextmanager
    def _fitting(self, what: str) -> Iterator[None]:
        try:
            yield
        except NoKeyFitsError:
            raise self._unfit(what) from None

    def _unfit(self, what: str) -> ConfigurationError:
        return ConfigurationError(
            f"{what} is encrypted to other keys than those in {self.identity_file}: let OPS_AGE_IDENTITY_FILE name a "
            "file with the secret key of one of its recipients."
        )


def new_identity() -> str:
    """A new pair of keys: the text of an identity file, which is secret."""
    identity = pyrage.x25519.Identity.generate()
    return f"# public key: {identity.to_public()}\n{identity}\n"


def public_keys(file: Path) -> list[str]:
    """The public keys that belong to the secret ones in an identity file.

    Raises:
        ConfigurationError: It is not there, cannot be read, or holds no key.
    """
    return [str(identity.to_public()) for identity in _read_identities(file)]


def _read_identities(file: Path) -> Identities:
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigurationError(f"OPS_AGE_IDENTITY_FILE {file} cannot be read: {why}.") from None
    secrets = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    try:
        identities = [pyrage.x25519.Identity.from_str(secret) for secret in secrets]
    except pyrage.IdentityError:
        identities = []  # nothing is said of the line: it may be a secret that was mistyped
    if not identities:
        raise ConfigurationError(
            f"OPS_AGE_IDENTITY_FILE {file} is no identity file: it has to hold a line AGE-SECRET-KEY-1… for each key, "
            "as `age-keygen` writes it, and otherwise only comments."
        )
    return identities


def _recipient(name: str) -> Any:
    try:
        return pyrage.x25519.Recipient.from_str(name)
    except pyrage.RecipientError:
        shown = "a secret key" if name.upper().startswith("AGE-SECRET") else repr(name)
        raise ConfigurationError(
            f"OPS_AGE_RECIPIENTS has {shown}, which is no public key: they look like age1…, with commas between them."
        ) from None
