"""The application's traffic in small, for rehearsals: which statements wait, or fail, while a migration runs.

    -- name: a cached calculation by its key
    -- weight: 40
    SELECT data FROM panchangam_cache WHERE cache_key = (SELECT …);

Statements find their own values in the data that are there. What they write stays in the rehearsal.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from ops_workflows.errors import ConfigurationError

_STATEMENT = re.compile(
    r"^-- name:(?P<name>[^\n]*)\n-- weight:(?P<weight>[^\n]*)\n(?P<sql>.*?)(?=^-- name:|\Z)", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A statement of the mix.

    Attributes:
        name: What it is, in words.
        weight: How often it is sent, against the others.
        sql: It.
    """

    name: str
    weight: int
    sql: str


def parse_mix(text: str, file: str) -> list[Asked]:
    """The statements of a file.

    Raises:
        ConfigurationError: There are none, or one lacks its name, its weight or its SQL.
    """
    parts = [match.group("name", "weight", "sql") for match in _STATEMENT.finditer(text)]
    heads = len(re.findall(r"^-- (?:name|weight):", text, re.MULTILINE))
    whole = all(name.strip() and weight.strip().isdecimal() and query.strip() for name, weight, query in parts)
    if not parts or heads != 2 * len(parts) or not whole:
        raise ConfigurationError(
            f"{file} cannot be read: each statement needs the lines `-- name: …` and `-- weight: NUMBER`, and then its "
            "SQL."
        )
    return [Asked(name.strip(), int(weight), query.strip()) for name, weight, query in parts]


def read_mix(file: Path) -> list[Asked]:
    """The statements of a file; none where there is no file.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        return parse_mix(file.read_text(), str(file))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}. Correct OPS_TRAFFIC_FILE.") from error
