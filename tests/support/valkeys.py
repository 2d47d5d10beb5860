"""Valkey servers of a test's own, with the configuration that the test is about, and TLS before them."""

import asyncio
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ops_workflows.local.bundled import valkey_server
from ops_workflows.postgres.account import hand_over, identity, server_account
from tests.support.schema import wait_for
from tests.support.servers import HOST, free_port, reachable_folder


@contextmanager
def own_valkey(
    lines: str = "", *, dump: bytes | None = None, ready: str = "Ready to accept connections"
) -> Iterator[int]:
    """A server with these further lines of configuration for the length of a `with`, and its port.

    It begins with what another has saved as its dump, and is handed out once its log has the words of `ready`.
    """
    account = server_account("nobody")
    with reachable_folder() as folder:
        home = folder / "server"
        home.mkdir(mode=0o700)
        hand_over(home, account)
        if dump is not None:
            (home / "dump.rdb").write_bytes(dump)
            hand_over(home / "dump.rdb", account)
        port = free_port()
        text = f'bind {HOST}\nport {port}\ndir "{home}"\nsave ""\n{lines}\n'
        command, log = [valkey_server(account), "-"], folder / "log"
        with (
            log.open("wb") as out,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=out, stderr=out, cwd="/", **identity(account)
            ) as process,
        ):
            try:
                assert process.stdin is not None
                process.stdin.write(text.encode())
                process.stdin.close()
                wait_for(lambda: ready in log.read_text() or process.poll() is not None)
                assert process.poll() is None, log.read_text()
                yield port
            finally:
                process.kill()
                process.wait(10)


@contextmanager
def behind_tls(target: int, certificate: Path, key: Path) -> Iterator[int]:
    """A port of loopback that speaks TLS and relays to another, which does not: the bundled server cannot."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    loop, port = asyncio.new_event_loop(), free_port()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(65_536):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(HOST, target)
        await asyncio.gather(pump(reader, back), pump(there, writer))

    async def serve(stop: asyncio.Event) -> None:
        async with await asyncio.start_server(relay, HOST, port, ssl=context):
            ready.set()
            await stop.wait()

    ready, over = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve(over)), daemon=True)
    thread.start()
    try:
        assert ready.wait(10)
        yield port
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()


def certificate_of_its_own(folder: Path, name: str = "localhost", also: str = f"IP:{HOST}") -> tuple[Path, Path]:
    """A certificate that signs itself, of loopback unless it is to be of another host, and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    names = ["-addext", f"subjectAltName={also}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names], check=True, capture_output=True, timeout=30)
    return certificate, key
