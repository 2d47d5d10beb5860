"""A process of its own that sends a Valkey server a command at a fixed rate, and says how long each took.

By itself, so that nothing else of Python's is measured with it: one socket, no client library, no garbage collector.
Arguments: port, commands a second, and the first and the last number of the keys. It ends when its standard input does,
and then prints the milliseconds that each command took from when it was due, as JSON.
"""

import gc
import json
import select
import socket
import sys
import time
from io import BufferedReader

_SETS = 15  # one command in so many writes, as in deploy/traffic.sql
_APART = 1_299_709  # a prime, which leads to all keys in no order
_LONGEST_SECONDS = 10


def main() -> None:
    """Knock until nobody listens any more."""
    port, rate, first, last = map(int, sys.argv[1:])
    gc.disable()
    took: list[float] = []
    with socket.create_connection(("127.0.0.1", port), timeout=_LONGEST_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        replies = connection.makefile("rb")
        due = time.perf_counter()
        while not select.select([sys.stdin], [], [], max(0.0, due - time.perf_counter()))[0]:
            number = len(took)
            connection.sendall(_command(number, first, last))
            _read(replies)
            took.append(round((time.perf_counter() - due) * 1e3, 3))
            due += 1 / rate
    print(json.dumps(took))


def _command(number: int, first: int, last: int) -> bytes:
    key = b"panchangam:%d" % (first + number * _APART % (last - first + 1))
    if number % _SETS == 0:
        return b"*5\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$3\r\nnew\r\n$2\r\nEX\r\n$5\r\n86400\r\n" % (len(key), key)
    return b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key)


def _read(replies: BufferedReader) -> None:
    line = replies.readline()
    if line[:1] == b"$" and (length := int(line[1:])) >= 0:
        replies.read(length + 2)
    elif line[:1] not in {b"+", b"$"}:
        raise SystemExit(f"The server answers {line!r}.")


if __name__ == "__main__":
    main()
