"""Catalogues that have been found out once, kept in a folder. Without it, or damaged, they are found out anew."""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_MOST = 8  # of a hundred kilobytes at most, usually


@dataclass(frozen=True, slots=True)
class KeptCatalogues:
    """The newest few, each under a key that says all that it depends on."""

    folder: Path

    def get(self, key: str) -> dict[str, str] | None:
        """The objects of a catalogue, by identity, with the digests of their definitions; None where it is not kept."""
        path = self.folder / f"{key}.json"
        try:
            found = json.loads(path.read_bytes())
            os.utime(path)  # so that those go first that nobody asks for
        except (OSError, ValueError):
            return None
        objects = found.get("objects") if isinstance(found, dict) and found.get("key") == key else None
        return objects if objects and found.get("sha256") == _sha256(objects) else None

    def put(self, key: str, objects: dict[str, str]) -> None:
        """Keep a catalogue, if there is a place for it."""
        part = self.folder / f"{key}.{os.getpid()}.part"
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps({"key": key, "sha256": _sha256(objects), "objects": objects}))
            part.replace(self.folder / f"{key}.json")
            newest_first = sorted(self.folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
            for old in newest_first[_MOST:]:
                old.unlink(missing_ok=True)


def _sha256(objects: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(objects, sort_keys=True).encode()).hexdigest()
