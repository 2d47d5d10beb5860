"""A TCP relay between us and PostgreSQL or S3: it sees what passes, and can be cut or can fall silent at any byte."""

import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import unquote, urlsplit

REQUEST = re.compile(rb"(GET|PUT|POST|HEAD|DELETE) (\S+) HTTP/1\.1\r\n")
RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time to linger: the close is a reset
_CHUNK = 256 * 1024


class Proxy:
    """Listens on a port of its own and relays to `target`, a chunk at a time.

    Attributes:
        before: Called with each chunk of a client before it is passed on; an OSError ends the connection instead.
        after: The same, with each chunk of the server.
        relayed: Bytes that the server has sent so far.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open = threading.Event()  # clear: nothing passes, nothing is closed
        self._open.set()
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._refusing = False
        self.before: Callable[[bytes], None] = lambda _chunk: None
        self.after: Callable[[bytes], None] = lambda _chunk: None
        self.relayed = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listening.getsockname()[1])

    def cut(self) -> None:
        """Reset every connection; each new one is reset too, until `mend`."""
        self._refusing = True
        self._drop()

    def stall(self) -> None:
        """Pass nothing on any more and close nothing, as a network does that was cut without a word."""
        self._open.clear()

    def mend(self) -> None:
        self._refusing = False
        self._open.set()

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # a close alone does not wake up who waits in accept
        self._listening.close()
        self._refusing = True
        self._open.set()
        self._drop()

    def _drop(self) -> None:
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for each in sockets:
            with suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self._refusing:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    client.close()
                    continue
                try:
                    server = socket.create_connection(self._target, 5)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                with self._lock:
                    self._sockets |= {client, server}
                threading.Thread(target=self._relay, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._relay, args=(server, client, False), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, from_client: bool) -> None:
        with suppress(OSError):
            while chunk := source.recv(_CHUNK):
                (self.before if from_client else self.after)(chunk)
                self._open.wait()
                self.relayed += 0 if from_client else len(chunk)
                sink.sendall(chunk)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


class Requests:
    """Counts the HTTP requests that pass a proxy, and does something at the n-th: before it arrives, or once answered.

    Give `before` and `after` to the proxy of the same names.
    """

    def __init__(self, at: Callable[[str], bool], act: Callable[[], None], *, answered: bool = False) -> None:
        self.seen: list[str] = []
        self.acted = False
        self._at = at
        self._act = act
        self._answered = answered
        self._due = False
        self._lock = threading.Lock()

    def before(self, chunk: bytes) -> None:
        if (request := REQUEST.match(chunk)) is None:
            return
        with self._lock:
            said = f"{request[1].decode()} {unquote(request[2].decode())}"
            self.seen.append(said)
            if self.acted or self._due or not self._at(said):
                return
            if self._answered:
                self._due = True
            else:
                self.acted = True
                self._act()

    def after(self, chunk: bytes) -> None:
        with self._lock:
            # The word “go on” to a client that asks before it sends is no answer yet.
            if self._due and not chunk.startswith(b"HTTP/1.1 100"):
                self._due, self.acted = False, True
                self._act()


def nth(n: int) -> Callable[[str], bool]:
    """True for the n-th question, counted from 0."""
    left = iter(range(n + 1))
    return lambda _said: next(left, n) == n


@contextmanager
def proxy_to(where: str) -> Iterator[Proxy]:
    """A proxy in front of `host:port` or of a URL's."""
    parts = urlsplit(where if "//" in where else f"//{where}")
    made = Proxy(parts.hostname or "127.0.0.1", parts.port or 0)
    try:
        yield made
    finally:
        made.close()
