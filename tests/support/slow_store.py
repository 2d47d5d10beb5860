"""A place for objects that is slow and keeps nothing, to see how much an upload holds meanwhile."""

import threading
import time
from pathlib import Path

from ops_workflows.storage.folder import FolderStore
from ops_workflows.storage.objects import StoredPart


class SlowStore(FolderStore):
    """It takes its time over each part, drops it, and remembers how many there were at once.

    Args:
        seconds: How long it takes over each.
        until: It does not begin before so many are there at once.
    """

    def __init__(self, seconds: float = 0.02, until: int = 1) -> None:
        super().__init__(Path("/"))
        self.taken = self.at_once = self.most_at_once = 0
        self._seconds = seconds
        self._lock = threading.Lock()
        self._until = until
        self._begins = threading.Event()

    def begin_upload(self, key: str) -> str:
        return key

    def put_part(
        self,
        key: str,  # noqa: ARG002
        upload_id: str,  # noqa: ARG002
        number: int,
        body: bytes | bytearray,
        *,
        offset: int,  # noqa: ARG002
    ) -> StoredPart:
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            if self.at_once >= self._until:
                self._begins.set()
        assert self._begins.wait(30)
        time.sleep(self._seconds)
        with self._lock:
            self.at_once -= 1
            self.taken += len(body)
        return StoredPart(number, len(body), f"{number}", "")

    def complete_upload(self, key: str, upload_id: str, parts: object) -> str:  # noqa: ARG002
        return "done"

    def abort_upload(self, key: str, upload_id: str) -> None:
        pass
