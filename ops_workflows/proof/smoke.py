"""The application's own smoke queries on a restored database: each says what it expects.

    -- name: every preference belongs to a user
    -- expect: 0
    SELECT count(*) FROM user_preferences p LEFT JOIN users u ON u.id = p.user_id WHERE u.id IS NULL;

A query gives one value; as text it has to be what is expected. Each runs in a transaction that may only read.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from ops_workflows.errors import ConfigurationError
from ops_workflows.postgres.connection import connect

_QUERY = re.compile(
    r"^-- name:(?P<name>[^\n]*)\n-- expect:(?P<expect>[^\n]*)\n(?P<sql>.*?)(?=^-- name:|\Z)", re.MULTILINE | re.DOTALL
)
_SECONDS = 60


@dataclass(frozen=True, slots=True)
class SmokeQuery:
    """A question with the answer that it must have."""

    name: str
    expect: str
    sql: str


def parse_smoke(text: str, file: str) -> list[SmokeQuery]:
    """The queries of a file.

    Raises:
        ConfigurationError: There are none, or one lacks its name, its expectation or its SQL.
    """
    parts = (match.group("name", "expect", "sql") for match in _QUERY.finditer(text))
    found = [SmokeQuery(name.strip(), expect.strip(), query.strip()) for name, expect, query in parts]
    heads = len(re.findall(r"^-- (?:name|expect):", text, re.MULTILINE))
    if not found or heads != 2 * len(found) or not all(each.name and each.expect and each.sql for each in found):
        raise ConfigurationError(
            f"{file} cannot be read: each query needs the lines `-- name: …` and `-- expect: …`, and then its SQL."
        )
    return found


def read_smoke(file: Path) -> list[SmokeQuery] | None:
    """The queries of a file; None where there is no file.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        return parse_smoke(file.read_text(), str(file))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}. Correct OPS_SMOKE_FILE.") from error


def ask_smoke(dsn: str, queries: Iterable[SmokeQuery]) -> list[str]:
    """Ask a database them all: a clause for each whose answer is another, or that cannot be answered.

    Raises:
        DatabaseError: The server does not answer.
    """
    faults = []
    with connect(dsn, statement_seconds=_SECONDS) as connection:
        connection.execute("SET default_transaction_read_only = on")
        for query in queries:
            try:
                row = connection.execute(query.sql.encode()).fetchone()
            except psycopg.OperationalError:
                raise
            except psycopg.Error as error:
                faults.append(f"“{query.name}” failed: {' '.join(str(error).split())}")
                continue
            answer = "no row" if row is None else str(row[0]).lower() if isinstance(row[0], bool) else str(row[0])
            if answer != query.expect:
                faults.append(f"“{query.name}” gave {answer} and not {query.expect}")
    return faults
