"""What the S3 server is asked to do for each object: encrypt it with its own keys, lock it against deletion."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from ops_workflows.errors import ConfigurationError
from ops_workflows.settings import Settings


@dataclass(frozen=True, slots=True)
class Protection:
    """The parameters to send along with whatever begins an object.

    Attributes:
        sealed: Of the server's encryption; for every object.
        mode: Of object lock, GOVERNANCE or COMPLIANCE; None for none.
        kept: For how long an object is locked.
    """

    sealed: dict[str, Any]
    mode: str | None = None
    kept: timedelta = timedelta()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What the settings ask for.

        Raises:
            ConfigurationError: A key is named that nothing would use.
        """
        sealed: dict[str, Any] = {}
        if settings.s3_sse != "none":
            sealed["ServerSideEncryption"] = settings.s3_sse
        if settings.s3_sse_kms_key_id is not None:
            if settings.s3_sse != "aws:kms":
                raise ConfigurationError("OPS_S3_SSE_KMS_KEY_ID is of use only with OPS_S3_SSE=aws:kms: set that too.")
            sealed["SSEKMSKeyId"] = settings.s3_sse_kms_key_id
        mode = settings.s3_object_lock_mode
        return cls(sealed, None if mode == "none" else mode, timedelta(days=settings.s3_object_lock_days))

    def parameters(self, *, lock: bool) -> dict[str, Any]:
        """To send along with an object that begins now.

        Args:
            lock: It is one that is never replaced.
        """
        if not lock or self.mode is None:
            return self.sealed
        # To the whole second: not every server reads fractions.
        until = (datetime.now(UTC) + self.kept).replace(microsecond=0)
        return self.sealed | {"ObjectLockMode": self.mode, "ObjectLockRetainUntilDate": until}
