"""The `.env` of a folder: one marked block in it leads to the embedded stack, every other line is a person's.

The block comes first, and in such a file the last word wins: a line that a person writes below it holds.
"""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from pydantic import SecretStr

from ops_workflows.local.databases import DATABASE
from ops_workflows.local.layout import write_private
from ops_workflows.local.object_store import BUCKET
from ops_workflows.local.place import HOST, Place
from ops_workflows.settings import Settings

BEGIN = "# >>> Written by `ops up`. What stands between these marks is replaced; your own lines below them win."
END = "# <<< Written by `ops up`."


def leading_to(place: Place) -> dict[str, str]:
    """The variables that lead to the stack; none of them is a secret."""
    layout, ports = place.layout, place.ports

    def url(role: str, server: str, database: str) -> str:
        passfile = quote(str(place.credentials.passfile), safe="/")
        return f"postgresql://{role}@{HOST}:{ports[server]}/{database}?passfile={passfile}"

    return {
        "OPS_HOME": str(layout.home),
        "OPS_SCRATCH_DIR": str(layout.scratch),
        "OPS_SECRETS_DIR": str(layout.secrets),
        "OPS_BACKUP_DSN": url("ops_backup", "primary", DATABASE),
        "OPS_OWNER_DSN": url("ops_owner", "primary", DATABASE),
        "OPS_UPKEEP_DSN": url("ops_upkeep", "primary", DATABASE),
        "OPS_HEALTH_STANDBY_DSN": url("ops_backup", "standby", DATABASE),
        "OPS_AGE_RECIPIENTS": place.credentials.age_recipients,
        "OPS_AGE_IDENTITY_FILE": str(place.credentials.age_identity),
        "OPS_PRIMARY_DATA_DIR": str(layout.service("primary") / "data"),
        "OPS_S3_BUCKET": BUCKET,
        "OPS_S3_ENDPOINT_URL": f"http://{HOST}:{ports['s3']}",
        "OPS_S3_REGION": "us-east-1",
        "OPS_REDIS_URL": f"redis://{HOST}:{ports['valkey']}/0",
        "OPS_DAGSTER_DATABASE_URL": url("dagster", "dagster", "dagster"),
        "DAGSTER_HOME": str(layout.folder),
    }


def write_block(file: Path, values: Mapping[str, str]) -> None:
    """Put `values` into the block of `file`, which is made if need be; in one step, mode 0600."""
    block = [BEGIN, *(f"{name}={_quoted(value)}" for name, value in values.items()), END]
    lines = file.read_text().splitlines() if file.exists() else []
    if BEGIN in lines and END in lines[lines.index(BEGIN) :]:
        first = lines.index(BEGIN)
        last = lines.index(END, first)
        lines[first : last + 1] = block
    else:
        lines = [*block, *lines]
    write_private(file, "\n".join(lines) + "\n")


def overridden(place: Place) -> list[str]:
    """The variables that do not lead to the stack, because the environment or a line of a person says otherwise."""
    found = Settings.read(place.layout.folder)
    keys = ("s3_access_key_id", "s3_secret_access_key")
    wanted = leading_to(place) | {f"OPS_{key.upper()}": place.credentials[key] for key in keys}
    fields = {variable: variable.removeprefix("OPS_").lower() for variable in wanted}
    return [
        variable
        for variable, field in fields.items()
        if field in Settings.model_fields and _plain(getattr(found, field)) != wanted[variable]
    ]


def _plain(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _quoted(value: str) -> str:
    """In single quotes, within which neither a shell nor python-dotenv expands anything."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
