"""Connections to the Valkey or Redis server: with timeouts, and with errors that say where and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from ops_workflows.errors import CacheError, ConfigurationError
from ops_workflows.settings import Settings

_SILENT_SECONDS = 10  # at most: it answers each of our commands within a millisecond
_SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix")
_TLS_SCHEMES = {"rediss", "valkeys"}
# What a URL may ask of the client. Timeouts are ours, and it takes any other word for one of its own, and breaks.
_KEYS = ("db", "username", "password")
_TLS_KEYS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")

_ADVICE = (
    # what the server or the client says -> what to do about it
    ("WRONGPASS", "correct the user in OPS_REDIS_URL and OPS_REDIS_PASSWORD"),
    ("invalid username-password", "correct the user in OPS_REDIS_URL and OPS_REDIS_PASSWORD"),
    ("invalid password", "correct OPS_REDIS_PASSWORD"),
    ("Authentication required", "set OPS_REDIS_PASSWORD"),
    ("without any password configured", "leave OPS_REDIS_PASSWORD out"),
    ("permissions to access a key", "grant its ACL user the keys of OPS_REDIS_EXPIRING and OPS_REDIS_STALE"),
    ("no permissions", "grant its ACL user +info +scan +object|idletime +ttl +expire +unlink +select +ping"),
    ("read only replica", "let OPS_REDIS_URL name the primary"),
    ("loading the dataset", "wait until it has loaded"),
    ("DB index is out of range", "correct OPS_REDIS_DATABASES, or the number at the end of OPS_REDIS_URL"),
    ("MISCONF", "see its log for why it cannot save, which is usually a disk that is full"),
    ("NOREPLICAS", "start its replicas, or lower its min-replicas-to-write"),
    ("certificate is not valid for", "let OPS_REDIS_URL name the host as its certificate does"),
    ("CERTIFICATE_VERIFY_FAILED", "let OPS_REDIS_CA_FILE name the CA that signed its certificate"),
    ("refused", "start it, or correct host and port in OPS_REDIS_URL"),
    ("closed by server", "see its log; where it speaks TLS only, write rediss:// in OPS_REDIS_URL"),
    ("Timeout connecting", "see whether a firewall is in the way, or write redis:// if it does not speak TLS"),
    ("Timeout", "see whether a firewall or a stopped server is in the way"),
    ("Name or service not known", "correct the host in OPS_REDIS_URL"),
)


def where(settings: Settings) -> str:
    """Which server the settings mean, without its password.

    Raises:
        ConfigurationError: OPS_REDIS_URL is not set, or cannot be read.
    """
    url = urlsplit(_url(settings, None))
    return url.path if url.scheme == "unix" else f"{url.hostname or 'localhost'}:{url.port or 6379}"


@contextmanager
def connected(
    settings: Settings, database: int | None = None, *, silent_seconds: int = _SILENT_SECONDS
) -> Iterator[Any]:
    """A client for the length of a `with`; nothing is sent until the first command.

    Args:
        settings: Where the server is.
        database: Number of its database; None for the URL's.
        silent_seconds: How long the server may say nothing to a command.

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
            socket_timeout=min(silent_seconds, settings.stall_seconds),
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
    pairs = [pair.partition("=") for pair in parts.query.split("&") if pair]
    may = _KEYS + (_TLS_KEYS if parts.scheme in _TLS_SCHEMES else ())
    if any(key not in may for key, _, _ in pairs):
        raise ConfigurationError(
            f"OPS_REDIS_URL asks for what is not known: behind its ?, leave out all but {', '.join(may)}."
        )
    numbers = [unquote(value) for key, _, value in pairs if key == "db"]
    if parts.scheme != "unix" and (path := unquote(parts.path).strip("/")):
        numbers.append(path)
    if not all(number.isascii() and number.isdigit() for number in numbers):
        raise ConfigurationError(
            "OPS_REDIS_URL names a database that is no number: end it with /0, /1 and so on, or leave that out."
        )
    # What the URL says wins over what the client is told beside it, so the number has to be said there, and once.
    number = database if database is not None else next(iter(numbers), 0)
    query = "&".join(["".join(pair) for pair in pairs if pair[0] != "db"] + [f"db={number}"])
    return parts._replace(query=query).geturl()


def _options(settings: Settings) -> dict[str, object]:
    options: dict[str, object] = {}
    parts = urlsplit(settings.require("redis_url"))
    if settings.redis_password is not None and parts.password is None:
        options["password"] = settings.redis_password.get_secret_value()
    if parts.scheme in _TLS_SCHEMES:
        # The client's own default takes the certificate of any host, if only a CA that it knows has signed it.
        options["ssl_check_hostname"] = True
        if settings.redis_ca_file is not None:
            options["ssl_ca_certs"] = str(settings.redis_ca_file)
    return options


def has_password(settings: Settings) -> bool:
    """Whether the settings have one."""
    return settings.redis_password is not None or urlsplit(settings.require("redis_url")).password is not None


def _unreadable() -> ConfigurationError:
    return ConfigurationError(
        "OPS_REDIS_URL cannot be read: write redis://USER@HOST:PORT/NUMBER, or rediss:// for TLS."
    )
