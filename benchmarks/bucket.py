"""The S3 server that everyone stores into: SeaweedFS on loopback, empty whenever it is started."""

import secrets
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from urllib.request import urlopen

from pydantic import SecretStr

from benchmarks.certificate import issue
from benchmarks.workplace import Workplace
from ops_workflows.local.bundled import weed
from ops_workflows.local.daemon import Daemon
from ops_workflows.local.object_store import remove_sockets
from ops_workflows.local.ports import assign
from ops_workflows.settings import Settings, environment
from ops_workflows.storage.s3 import create_bucket

HOST = "127.0.0.1"
REGION = "us-east-1"
NAME = "benchmark"
_START_SECONDS = 30


@dataclass(frozen=True)
class Bucket:
    """An empty bucket, and how to reach it.

    Attributes:
        service: Its server.
        port: Where that listens.
        ca_file: The authority to trust, if the server speaks TLS, and then it speaks nothing else.
        access_key_id: Whose access key.
        secret_access_key: The secret that belongs to it.
    """

    service: Daemon
    port: int
    ca_file: Path | None
    access_key_id: str
    secret_access_key: str

    @property
    def url(self) -> str:
        """Of the endpoint."""
        return f"{'https' if self.ca_file else 'http'}://{HOST}:{self.port}"


@contextmanager
def bucket(place: Workplace, *, tls: bool) -> Iterator[Bucket]:
    """A server with an empty bucket for the length of a `with`; its data are removed with it.

    Raises:
        OpsError: It did not start.
        StorageError: It did not make the bucket.
    """
    folder = place.make("s3")
    place.make("s3/data")
    ca_file = _certify(place, folder) if tls else None
    ports = assign({}, ())
    service = Daemon("seaweedfs", "weed", folder)
    made = Bucket(service, ports["s3"], ca_file, secrets.token_hex(10), secrets.token_hex(20))
    try:
        service.start(
            [weed(place.account), "-logtostderr=true", "mini", *_options(folder, ports, tls)],
            env=environment(
                AWS_ACCESS_KEY_ID=made.access_key_id, AWS_SECRET_ACCESS_KEY=made.secret_access_key, HOME=str(folder)
            ),
            log_file=folder / "server.log",
            account=place.account,
            is_ready=partial(_answers, made),
            timeout=_START_SECONDS,
        )
        create_bucket(settings(made), versioning=False)
        yield made
    finally:
        service.stop(timeout=2)  # and then a kill: its data go with it, so there is nothing that it should save
        remove_sockets(ports)
        place.remove(folder)


def _certify(place: Workplace, folder: Path) -> Path:
    authority, certificate, key = issue(HOST)
    place.write_private(folder / "server.pem", certificate)
    place.write_private(folder / "server.key", key)
    return place.write_private(folder / "authority.pem", authority)


def _options(folder: Path, ports: dict[str, int], tls: bool) -> list[str]:
    options: dict[str, str | int | Path] = {
        "dir": folder / "data",
        "ip": HOST,
        "ip.bind": HOST,
        "s3.port": ports["s3"],
        "s3.localSocket": folder / "s3.sock",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.autoCreateBucket": "false",
        "master.port": ports["s3_master"],
        "master.telemetry": "false",
        "volume.port": ports["s3_volume"],
        "filer.port": ports["s3_filer"],
        "filer.localSocket": folder / "filer.sock",
        "admin.port": ports["s3_admin"],
        "admin.ui": "false",
        "webdav": "false",
    }
    if tls:
        options |= {"s3.cert.file": folder / "server.pem", "s3.key.file": folder / "server.key"}
    return [f"-{name}={value}" for name, value in options.items()]


def _answers(made: Bucket) -> bool:
    try:
        context = ssl.create_default_context(cafile=made.ca_file) if made.ca_file else None
        with urlopen(f"{made.url}/healthz", timeout=2, context=context) as answer:  # noqa: S310 - a URL of our own
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def settings(made: Bucket) -> Settings:
    """Ours, of the bucket alone."""
    return Settings(
        s3_bucket=NAME,
        s3_endpoint_url=made.url,
        s3_region=REGION,
        s3_ca_file=made.ca_file,
        s3_access_key_id=SecretStr(made.access_key_id),
        s3_secret_access_key=SecretStr(made.secret_access_key),
    )
