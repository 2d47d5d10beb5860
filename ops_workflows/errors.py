"""The errors that a person is meant to read: each is one sentence saying what happened, where, and what to do."""


class OpsError(Exception):
    """Something a person has to know about; its text is complete, so the CLI prints it without a traceback."""


class ConfigurationError(OpsError):
    """A setting is missing or cannot be right."""


class DatabaseError(OpsError):
    """PostgreSQL is unreachable, refuses us, or answers what it should not."""


class CacheError(OpsError):
    """The Valkey or Redis server is unreachable, refuses us, or answers what it should not."""


class StorageError(OpsError):
    """The bucket is unreachable, refuses us, or does not hold what it should."""


class IntegrityError(OpsError):
    """Bytes are not the bytes that were stored: never to be retried, never to be ignored."""


class RefusedError(OpsError):
    """The request is understood and declined, because carrying it out would lose or endanger something."""
