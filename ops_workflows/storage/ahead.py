"""Two neighbours of a pipeline at work at the same time: one produces ahead of the other, within a bound."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_POLL_SECONDS = 0.1  # how soon a producer notices that its consumer has gone


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


class _Producer[T]:
    def __init__(self, produced: Iterator[T], depth: int) -> None:
        self._produced = produced
        self._items: queue.Queue[T | _End] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)
        self._thread.start()

    def items(self) -> Iterator[T]:
        while not isinstance(item := self._items.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        end = _End(None)
        try:
            for item in self._produced:
                if not self._offer(item):
                    return
        except BaseException as error:  # noqa: BLE001 - carried over to the reader's thread and raised there
            end = _End(error)
        self._offer(end)

    def _offer(self, item: T | _End) -> bool:
        while not self._stop.is_set():
            try:
                self._items.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False


@contextmanager
def ahead[T](produced: Iterator[T], depth: int) -> Iterator[Iterator[T]]:
    """Run an iterator in a thread of its own, at most `depth` items ahead of whoever reads it.

    What the iterator raises is raised to the reader. Leaving the context early stops the thread after its present item.
    """
    producer = _Producer(produced, depth)
    try:
        yield producer.items()
    finally:
        producer.stop()
