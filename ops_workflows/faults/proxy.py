"""A small HTTP proxy in front of the bucket, on loopback, that answers some questions wrongly."""

import http.client
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast
from urllib.parse import urlsplit

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time to linger: the close is a reset
_TIMEOUT = 60  # seconds for the bucket to answer the proxy
_ONE_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the bucket answers, or what is made of it.

    Attributes:
        status: HTTP's.
        headers: All but its length.
        body: Its bytes.
        sent: How many of them are sent before the connection ends; None for all.
        reset: Whether the connection is reset in place of an answer.
        seconds: How long it takes to begin.
        length: What is said to be its length; None for the truth.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    sent: int | None = None
    reset: bool = False
    seconds: float = 0.0
    length: int | None = None


Spoil = Callable[[str, Answer], Answer]
"""Makes of a question (`GET /bucket/key?…`) and its answer another answer, or leaves it."""


def failing(status: int, code: str) -> Callable[[Answer], Answer]:
    """An error of the S3 server's."""
    body = f"<Error><Code>{code}</Code><Message>{code}: of the fault suite.</Message></Error>".encode()
    return lambda answer: replace(answer, status=status, headers=(("Content-Type", "application/xml"),), body=body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, target: tuple[str, int], spoil: Spoil) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.spoil = spoil
        self.ending = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Nobody wants to read of a client that left."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _relay(self) -> None:
        server = cast("_Server", self.server)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = server.spoil(f"{self.command} {self.path}", self._ask(server.target, body))
        if answer.seconds and server.ending.wait(answer.seconds):
            self.close_connection = True
            return
        if answer.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.connection.close()
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        length = len(answer.body) if answer.length is None else answer.length
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[: answer.sent])
        self.close_connection = answer.sent is not None

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _relay  # noqa: N815 - the library's names

    def _ask(self, target: tuple[str, int], body: bytes) -> Answer:
        connection = http.client.HTTPConnection(*target, timeout=_TIMEOUT)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _ONE_HOP or name.lower() == "content-length":
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            found = connection.getresponse()
            headers = tuple((name, value) for name, value in found.getheaders() if name.lower() not in _ONE_HOP)
            said = found.headers.get("Content-Length") if self.command == "HEAD" else None
            return Answer(found.status, headers, found.read(), length=int(said) if said else None)
        finally:
            connection.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nothing is logged."""


@contextmanager
def proxy(url: str, spoil: Spoil) -> Iterator[str]:
    """A proxy to a URL, http only, for the length of a `with`; its own URL.

    Args:
        url: Of the S3 server.
        spoil: Called for each answer, from several threads.
    """
    parts = urlsplit(url)
    server = _Server((parts.hostname or "127.0.0.1", parts.port or 80), spoil)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.ending.set()
        server.shutdown()
        with suppress(OSError):
            server.server_close()
        thread.join()
