"""The S3 server of the embedded stack: SeaweedFS, all its parts in one process, on loopback.

Its credentials are given in the environment, never as arguments. Beside S3 it serves plain HTTP of its own; a
`security.toml` in its folder makes those parts demand tokens that only the process itself can sign.
"""

import http.client
import secrets
from contextlib import suppress
from pathlib import Path

from pydantic import SecretStr

from ops_workflows.errors import StorageError
from ops_workflows.local.bundled import weed
from ops_workflows.local.daemon import Daemon
from ops_workflows.local.layout import Layout, write_private
from ops_workflows.local.place import HOST, Place
from ops_workflows.local.ports import GRPC_OFFSET, OBJECT_STORE
from ops_workflows.postgres.account import hand_over
from ops_workflows.postgres.processes import wait_until
from ops_workflows.postgres.server import LONGEST_SOCKET_PATH
from ops_workflows.settings import Settings, environment

BUCKET = "ops-backups"
START_SECONDS = 30
_PROBE = "ready"  # outside of every repository's prefix
TOKENS = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")


def object_store(layout: Layout) -> Daemon:
    """The service, started or not."""
    return Daemon("seaweedfs", "weed", layout.service("seaweedfs"))


def start_object_store(place: Place, settings: Settings) -> None:
    """Start it and make its bucket, versioned, unless it is there.

    Raises:
        OpsError: It did not start.
        StorageError: The bucket cannot be made.
    """
    service = object_store(place.layout)
    data = service.folder / "data"
    if not service.running_processes():
        remove_sockets(place.ports)
        data.mkdir(mode=0o700, exist_ok=True)
        hand_over(data, place.account)
        tokens = "".join(f'[{name}]\nkey = "{secrets.token_hex(20)}"\n' for name in TOKENS)
        write_private(service.folder / "security.toml", tokens, place.account)
    service.start(
        [weed(place.account), "-logtostderr=true", "mini", f"-dir={data}", *_options(place, service.folder)],
        env=environment(
            AWS_ACCESS_KEY_ID=place.credentials["s3_access_key_id"],
            AWS_SECRET_ACCESS_KEY=place.credentials["s3_secret_access_key"],
            HOME=str(service.folder),
        ),
        log_file=place.layout.log("seaweedfs"),
        account=place.account,
        is_ready=lambda: answers(place.ports["s3"]),
        timeout=START_SECONDS,
    )
    # Not at module level: the SDK behind it is slow to import.
    from ops_workflows.storage.s3 import create_bucket  # noqa: PLC0415

    own = own_settings(place, settings)
    create_bucket(own, versioning=True)
    _wait_until_it_keeps(own)
    place.report(f"seaweedfs: S3 at http://{HOST}:{place.ports['s3']}, bucket {BUCKET}")


def _wait_until_it_keeps(own: Settings) -> None:
    """Wait until an object can be stored and read: S3 answers some seconds before its volumes have come back.

    Raises:
        StorageError: They did not; with what the last attempt said.
    """
    from ops_workflows.storage.s3 import open_store  # noqa: PLC0415

    store, failure = open_store(own.model_copy(update={"s3_attempts": 1})), list[StorageError]()

    def keeps() -> bool:
        try:
            store.put(_PROBE, b"kept")
            return store.get(_PROBE) == b"kept"
        except StorageError as error:
            failure[:] = [error]
            return False

    if not wait_until(keeps, START_SECONDS):
        raise failure[0] if failure else StorageError(f"{store} does not give back what it was given: see its log.")


def own_settings(place: Place, settings: Settings) -> Settings:
    """The settings with this bucket in them, whatever bucket the environment may name."""
    return settings.model_copy(
        update={
            "s3_bucket": BUCKET,
            "s3_endpoint_url": f"http://{HOST}:{place.ports['s3']}",
            "s3_region": "us-east-1",
            "s3_ca_file": None,
            "s3_access_key_id": SecretStr(place.credentials["s3_access_key_id"]),
            "s3_secret_access_key": SecretStr(place.credentials["s3_secret_access_key"]),
        }
    )


def answers(port: int) -> bool:
    """Whether S3 on this port is ready to serve."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def remove_sockets(ports: dict[str, int]) -> None:
    """Remove the sockets that a killed SeaweedFS leaves in /tmp, where it puts them whatever it is told."""
    for name in OBJECT_STORE:
        for socket in Path("/tmp").glob(f"seaweedfs-*-{ports.get(name, 0) + GRPC_OFFSET}.sock"):  # noqa: S108 - SeaweedFS's choice
            with suppress(PermissionError):  # it is somebody else's, and SeaweedFS does without
                socket.unlink(missing_ok=True)


def _options(place: Place, folder: Path) -> list[str]:
    ports = place.ports
    options = {
        "ip": HOST,
        "ip.bind": HOST,
        "s3.port": ports["s3"],
        "master.port": ports["s3_master"],
        "volume.port": ports["s3_volume"],
        "filer.port": ports["s3_filer"],
        "admin.port": ports["s3_admin"],
        "admin.ui": "false",
        "webdav": "false",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        # A bucket that is missing is an error, as it is with any other S3 server.
        "s3.autoCreateBucket": "false",
        "master.telemetry": "false",
    }
    for part in ("filer", "s3"):
        if len(str(folder / f"{part}.sock").encode()) <= LONGEST_SOCKET_PATH:
            options[f"{part}.localSocket"] = str(folder / f"{part}.sock")
    return [f"-{name}={value}" for name, value in options.items()]
