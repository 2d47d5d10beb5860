"""The application's traffic in small, of which deploy/traffic.sql is an example: samples, and statements by weight.

    -- sample: user_id
    SELECT id FROM users LIMIT 1000;

    -- name: a login is noted
    -- weight: 2
    UPDATE users SET last_login = now() WHERE id = %(user_id)s;

A sample is a pool of values, read once from the database at hand; a placeholder is one of them, drawn at random, and
NULL where the pool is empty. A percent sign is written twice throughout.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

import psycopg
from psycopg.types.string import TextLoader

from ops_workflows.errors import ConfigurationError
from ops_workflows.postgres.connection import Connection
from ops_workflows.schema.statements import statements

_PART = re.compile(
    r"^-- (?:sample:(?P<sample>[^\n]*)|name:(?P<name>[^\n]*)\n-- weight:(?P<weight>[^\n]*))\n"
    r"(?P<sql>.*?)(?=^-- (?:sample|name):|\Z)",
    re.MULTILINE | re.DOTALL,
)
_HEAD = re.compile(r"^-- (?:sample|name|weight):", re.MULTILINE)
_PERCENT = re.compile(r"%(?:%|\((?P<name>\w+)\)[sbt]|(?P<lone>))")
_CHANGING = {"insert", "update", "delete", "merge"}
_LARGEST_POOL = 10_000  # values, should a sample have no LIMIT

type Turn = tuple[Asked, Mapping[str, object]]


@dataclass(frozen=True)
class Asked:
    """A statement of the mix.

    Attributes:
        name: What it is, in words.
        weight: How often it is sent, against the others.
        sql: It, with placeholders as psycopg takes them.
    """

    name: str
    weight: int
    sql: str

    @cached_property
    def tagged(self) -> str:
        """What to send: behind a comment that is its name, so that pg_stat_activity shows which one runs."""
        return f"/* {self.name.replace('%', '%%')} */ {self.sql}"

    @cached_property
    def placeholders(self) -> tuple[str, ...]:
        """The samples that it draws from."""
        return tuple(dict.fromkeys(_placeholders(self.sql)))

    @cached_property
    def writes(self) -> bool:
        """Whether it changes rows, as its words tell."""
        words = statements(self.sql)[0].words
        return not _CHANGING.isdisjoint(words if words[:1] == ("with",) else words[:1])


@dataclass(frozen=True)
class Mix:
    """What a file holds.

    Attributes:
        file: Its path, for errors.
        samples: The queries that the pools are read with, by their names.
        statements: What is sent.
    """

    file: str
    samples: Mapping[str, str]
    statements: Sequence[Asked]

    def read_pools(self, connection: Connection) -> "Pools":
        """Read the samples.

        Raises:
            ConfigurationError: One of them cannot be read from this database.
            psycopg.OperationalError: The connection broke, or one takes too long.
        """
        return Pools(self.statements, {name: self._pool(connection, name) for name in self.samples})

    def _pool(self, connection: Connection, name: str) -> list[object]:
        try:
            with connection.transaction(), connection.cursor(name="sample") as cursor:
                for kind in ("json", "jsonb"):  # Python's objects could not be sent again
                    cursor.adapters.register_loader(kind, TextLoader)
                cursor.execute(self.samples[name].encode(), {})
                if len(cursor.description or ()) != 1:
                    raise ConfigurationError(f"{self.file}: sample “{name}” has to give one column: correct it.")
                return [row[0] for row in cursor.fetchmany(_LARGEST_POOL)]
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            said = " ".join(str(error).split()).rstrip(".")
            raise ConfigurationError(f"{self.file}: sample “{name}” cannot be read: {said}.") from error


@dataclass(frozen=True)
class Pools:
    """Statements, and the values that fit them in one database.

    Attributes:
        statements: Those of the mix.
        values: Of each sample.
    """

    statements: Sequence[Asked]
    values: Mapping[str, Sequence[object]]

    def draw(self, random: Random) -> Iterator[Turn]:
        """Statements without end, by their weights, with their values."""
        weights = [statement.weight for statement in self.statements]
        while True:
            for statement in random.choices(self.statements, weights, k=100):
                yield statement, self._drawn(statement, random)

    def each(self, random: Random) -> Iterator[Turn]:
        """Every statement once, with its values."""
        for statement in self.statements:
            yield statement, self._drawn(statement, random)

    def _drawn(self, statement: Asked, random: Random) -> dict[str, object]:
        pools = {name: self.values[name] for name in statement.placeholders}
        return {name: random.choice(pool) if pool else None for name, pool in pools.items()}


def parse_mix(text: str, file: str) -> Mix:
    """The samples and statements of a file.

    Raises:
        ConfigurationError: It has no statement, or a part of it cannot be right; the text names that part.
    """
    parts = [match.groupdict() for match in _PART.finditer(text)]
    samples = [(part["sample"].strip(), part["sql"]) for part in parts if part["sample"] is not None]
    asked = [(part["name"].strip(), part["weight"].strip(), part["sql"]) for part in parts if part["name"] is not None]
    named = all(re.fullmatch(r"\w+", name) for name, _ in samples)
    weighed = all(name and re.fullmatch(r"0*[1-9][0-9]*", weight) for name, weight, _ in asked)
    if not asked or not named or not weighed or len(_HEAD.findall(text)) != len(samples) + 2 * len(asked):
        raise ConfigurationError(
            f"{file} cannot be read: each sample needs the line `-- sample: WORD`, each statement the lines "
            "`-- name: …` and `-- weight: NUMBER`, and then its SQL."
        )
    names = Counter(part[0] for part in (*samples, *asked))
    if twice := [name for name, times in names.items() if times > 1]:
        raise ConfigurationError(f"{file}: two parts are called “{twice[0]}”: give each a name of its own.")
    pools = {name: _only(sql, name, file) for name, sql in samples}
    mix = [Asked(name, int(weight), _only(sql, name, file)) for name, weight, sql in asked]
    for name, sql in pools.items():
        if _placeholders(sql):
            raise ConfigurationError(f"{file}: sample “{name}” draws from a sample itself: write the values into it.")
    for each in mix:
        _check(each, pools, file)
    return Mix(file, pools, mix)


def read_mix(file: Path) -> Mix | None:
    """The mix of a file; None where there is no file.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        return parse_mix(file.read_text(encoding="utf-8"), str(file))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}. Correct OPS_TRAFFIC_FILE.") from error


def _only(text: str, name: str, file: str) -> str:
    """The one statement of a part, without what stands around it."""
    found = statements(text)
    if len(found) != 1 or found[0].controls_transactions:
        raise ConfigurationError(
            f"{file}: “{name}” is to be one statement, in a transaction of its own: leave one there, and no BEGIN."
        )
    sql = text[found[0].start : found[0].end]
    if any(percent["lone"] is not None for percent in _PERCENT.finditer(sql)):
        raise ConfigurationError(f"{file}: “{name}” has a single percent sign: write %%, or a placeholder as %(name)s.")
    return sql


def _placeholders(sql: str) -> list[str]:
    return [found["name"] for found in _PERCENT.finditer(sql) if found["name"]]


def _check(statement: Asked, samples: Mapping[str, str], file: str) -> None:
    if "/*" in statement.name or "*/" in statement.name:  # either would let what follows out of the tag, or keep it in
        raise ConfigurationError(f"{file}: the name “{statement.name}” may hold neither /* nor */: choose another.")
    for name in statement.placeholders:
        if name not in samples:
            raise ConfigurationError(
                f"{file}: “{statement.name}” draws from a sample {name} that is not there: add `-- sample: {name}`."
            )
