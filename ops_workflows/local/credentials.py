"""The generated passwords and keys of the embedded stack, in the files from which they are read.

They are made once, at the first `up`, and never appear in an argument list, a log, or `.env`. Beside them lies the age
identity that everything in the bucket is encrypted to: whoever loses it loses the backups.
"""

import json
import secrets
from pathlib import Path

from ops_workflows.errors import ConfigurationError
from ops_workflows.local.layout import write_private
from ops_workflows.storage.encryption import new_identity, public_keys

PRIMARY_ROLES = ("postgres", "ops_backup", "ops_owner", "ops_upkeep", "ops_standby")
KEYS = (*PRIMARY_ROLES, "dagster", "dagster_postgres", "s3_access_key_id", "s3_secret_access_key", "valkey")


class Credentials:
    """Passwords by name, one of `KEYS`; generated if the folder has none yet.

    Raises:
        ConfigurationError: The file that has them is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.passfile = folder / "pgpass"
        self.age_identity = folder / "age-identity"
        file = folder / "passwords.json"
        try:
            known = json.loads(file.read_text()) if file.exists() else {}
        except ValueError:
            raise ConfigurationError(
                f"{file} is damaged: bring it back, or begin anew with `ops up --fresh`."
            ) from None
        self._values = {key: known.get(key) or secrets.token_hex(20) for key in KEYS}
        if self._values != known:
            write_private(file, json.dumps(self._values, indent=2) + "\n")
        if not self.age_identity.exists():
            write_private(self.age_identity, new_identity())

    @property
    def age_recipients(self) -> str:
        """The public keys that belong to the age identity, with commas between them."""
        return ",".join(public_keys(self.age_identity))

    def __getitem__(self, key: str) -> str:
        return self._values[key]

    def write(self, ports: dict[str, int]) -> None:
        """Write the files that others read: libpq's passfile, and one file per setting for `OPS_SECRETS_DIR`."""
        lines = [passfile_line(ports["dagster"], "dagster", self["dagster"])]
        lines.append(passfile_line(ports["dagster"], "postgres", self["dagster_postgres"]))
        for server in ("primary", "standby"):
            lines += [passfile_line(ports[server], role, self[role]) for role in PRIMARY_ROLES]
        write_private(self.passfile, "".join(lines))
        write_private(self._folder / "ops_s3_access_key_id", self["s3_access_key_id"])
        write_private(self._folder / "ops_s3_secret_access_key", self["s3_secret_access_key"])
        write_private(self._folder / "ops_redis_password", self["valkey"])


def passfile_line(port: int, role: str, password: str) -> str:
    """A line of libpq's passfile: this role on this server, whatever the database."""
    return f"127.0.0.1:{port}:*:{role}:{password}\n"
