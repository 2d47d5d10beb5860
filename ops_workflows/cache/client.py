"""Connections to the Valkey or Redis server: with timeouts, and with errors that say where and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from ops_workflows.errors import CacheError, ConfigurationError
from ops_workflows.settings import Settings

_SILENT_SECONDS = 10
_SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix")

_ADVICE = (
    # what the server or the client says -> what to do about it
    ("WRONGPASS", "correct the user in OPS_REDIS_URL and OPS_REDIS_PASSWORD"),
    ("invalid username-password", "correct the user in OPS_REDIS_URL and OPS_REDIS_PASSWORD"),
    ("invalid password", "correct OPS_REDIS_PASSWORD"),
    ("Authentication required", "set OPS_REDIS_PASSWORD"),
    ("without any password configured", "leave OPS_REDIS_PASSWORD out"),
    ("no permissions", "grant its ACL user +info +scan +object|idletime +ttl +expire +unlink +select +ping"),
    ("read only replica", "let OPS_REDIS_URL name the primary"),
    ("loading the dataset", "wait until it has loaded"),
    ("DB index is out of range", "correct OPS_REDIS_DATABASES, or the number at the end of OPS_REDIS_URL"),
    ("CERTIFICATE_VERIFY_FAILED", "let OPS_REDIS_CA_FILE name the CA that signed its certificate"),
    ("refused", "start it, or correct host and port in OPS_REDIS_URL"),
    ("Timeout", "see whether a firewall or a stopped server is in the way"),
    ("Name or service not known", "correct the host in OPS_REDIS_URL"),
)


def where(settings: Settings) -> str:
    """Which server the settings mean, without its password."""
    url = urlsplit(settings.require("redis_url"))
    return url.path if url.scheme == "unix" else f"{url.hostname or 'localhost'}:{url.port or 6379}"


@contextmanager
def connected(settings: Settings, database: int | None = None) -> Iterator[Any]:
    """A client for the length of a `with`; nothing is sent until the first command.

    Args:
        settings: Where the server is.
        database: Number of its database; None for the URL's.

    Raises:
        CacheError: It is unreachable, refuses us, or fails meanwhile.
        ConfigurationError: OPS_REDIS_URL is not set, or cannot be read.
    """
    # The client takes a while to import, and whoever asks for help needs none of it.
    from valkey import Valkey  # noqa: PLC0415 - see above
    from valkey.exceptions import ValkeyError  # noqa: PLC0415 - see above

    try:
        client = Valkey.from_url(
            _url(settings, database),
            socket_timeout=_SILENT_SECONDS,
            socket_connect_timeout=settings.connect_timeout_seconds,
            **_options(settings),
        )
    except ValueError:
        raise _unreadable() from None
    try:
        with client:
            yield client
    except (ValkeyError, OSError) as error:
        said = " ".join(str(error).split()).rstrip(".")
        advice = next((advice for sign, advice in _ADVICE if sign in said), "see the server's log")
        raise CacheError(f"The cache at {where(settings)} failed: {said}. To do: {advice}.") from None


def _url(settings: Settings, database: int | None) -> str:
    url = settings.require("redis_url")
    try:
        parts = urlsplit(url)
        known = parts.scheme in _SCHEMES and (parts.port or True)
    except ValueError:
        known = False
    if not known:
        raise _unreadable()
    # What the URL says wins over what the client is told beside it, so the number has to be said there.
    if database is None:
        return url
    if parts.scheme == "unix":
        return parts._replace(query=f"db={database}").geturl()
    return parts._replace(path=f"/{database}").geturl()


def _options(settings: Settings) -> dict[str, object]:
    options: dict[str, object] = {}
    parts = urlsplit(settings.require("redis_url"))
    if settings.redis_password is not None and parts.password is None:
        options["password"] = settings.redis_password.get_secret_value()
    if settings.redis_ca_file is not None and parts.scheme in {"rediss", "valkeys"}:
        options["ssl_ca_certs"] = str(settings.redis_ca_file)
    return options


def _unreadable() -> ConfigurationError:
    return ConfigurationError(
        "OPS_REDIS_URL cannot be read: write redis://USER@HOST:PORT/NUMBER, or rediss:// for TLS."
    )
