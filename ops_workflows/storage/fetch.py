"""One object as a stream, its ranges fetched in parallel, within flat memory and checked as it passes."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from ops_workflows.errors import IntegrityError
from ops_workflows.storage.store import ObjectStore

MiB = 1024 * 1024
RANGE = 4 * MiB


def fetch(
    store: ObjectStore,
    key: str,
    *,
    size: int,
    sha256: str,
    threads: int,
    progress: Callable[[int], None] = lambda _bytes: None,
) -> Iterator[bytes]:
    """The object's bytes in order, in ranges of 4 MiB.

    Args:
        store: The bucket.
        key: Full key of the object.
        size: Bytes that it must have.
        sha256: Hex digest that all its bytes must have.
        threads: Ranges in flight at once.
        progress: Called with the number of bytes of each range that has arrived.

    Raises:
        IntegrityError: The object is missing, of another size, changed while it was read, or its bytes are not those
            that were stored. The last is known only after the last range: nothing may be built on what was yielded
            until the iterator has ended.
        StorageError: The bucket did not answer.
    """
    found = store.head(key)
    if found is None:
        raise IntegrityError(f"{key} is missing from {store}.")
    if found.size != size:
        raise IntegrityError(f"{key} in {store} has {found.size:,} bytes and not the {size:,} that were stored.")
    digest = hashlib.sha256()
    starts = iter(range(0, size, RANGE))
    with ThreadPoolExecutor(threads, thread_name_prefix="fetch") as pool:
        waiting: deque[Future[bytes]] = deque()

        def ask() -> None:
            for start in starts:
                waiting.append(pool.submit(store.get_range, key, start, min(RANGE, size - start), found.etag))
                if len(waiting) > threads:
                    return

        try:
            ask()
            while waiting:
                piece = waiting.popleft().result()
                ask()
                digest.update(piece)
                progress(len(piece))
                yield piece
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    if digest.hexdigest() != sha256:
        raise IntegrityError(f"{key} in {store} is altered: its bytes no longer have the SHA-256 that was recorded.")
