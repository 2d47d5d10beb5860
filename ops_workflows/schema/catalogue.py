"""Where the catalogue of a database is not what it should be: a pure function from two inventories to clauses.

Left out is what migrations do not decide: rights; the order in which a table has its columns, which a step back and
forth may change; extensions that somebody added, and the versions of all, which are the superuser's; and our own schema
with the tables that migrations are recorded in.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Set

_OURS = "ops"
_RECORDS = re.compile(r'\."?schema_migrations"?$')
_NOT_DECIDED = ("rights on ", "order of columns on ")
_NAME = r'(?:"(?:[^"]|"")*"|[^\s".]+)'
_TABLE = re.compile(
    rf"^(?:(?:rights on )?relation|(?:not null on )?column) (?P<table>{_NAME}\.{_NAME})(?:\.|$)"
    rf"| on (?P<of>{_NAME}\.{_NAME})$"
)
_SCHEMA = re.compile(rf"^(?:relation|type|function) (?P<schema>{_NAME})\.")
_ON_TYPE = re.compile(rf" on (?P<type>type {_NAME}\.{_NAME})$")
_INDEX = re.compile(rf"^index {_NAME}\.(?P<name>{_NAME}) on ")


def differences(expected: Mapping[str, str], found: Mapping[str, str], partitions: Collection[str] = ()) -> list[str]:
    """What a database lacks, has besides, and has otherwise, in this order: a clause for each object.

    What belongs to an object that is missing or unexpected as a whole is not listed again.

    Args:
        expected: Each object's identity and its definition's digest, as the migrations make them.
        found: Likewise, of the database.
        partitions: Tables of the database that are attached as partitions, `schema.name`. One that is not expected is
            no difference: they are made ahead of time.
    """
    expected, found = _decided(expected), _decided(found)
    missing = expected.keys() - found.keys()
    unexpected = {
        each for each in without(found, partitions).keys() - expected.keys() if not each.startswith("extension ")
    }
    different = {each for each in expected.keys() & found.keys() if expected[each] != found[each]}
    alike = missing | unexpected | different
    return [
        f"{each} {what}"
        for what, which in (("is missing", missing), ("is unexpected", unexpected), ("differs", different))
        for each in sorted(which)
        if not (_said_by(each) & alike or (which is not different and _containers(each) & which))
    ]


def without(objects: Mapping[str, str], tables: Collection[str]) -> dict[str, str]:
    """The objects that are none of these tables, `schema.name`, and belong to none of them."""
    return {identity: digest for identity, digest in objects.items() if _table(identity) not in tables}


def _decided(objects: Mapping[str, str]) -> dict[str, str]:
    return {
        identity: "" if identity.startswith("extension ") else digest
        for identity, digest in objects.items()
        if not (identity.startswith(_NOT_DECIDED) or _is_ours(identity))
    }


def _is_ours(identity: str) -> bool:
    return f"schema {_OURS}" in {identity, *_containers(identity)} or bool(_RECORDS.search(_table(identity) or ""))


def _table(identity: str) -> str | None:
    """The table or other relation that an object is, or belongs to."""
    found = _TABLE.search(identity)
    return (found["table"] or found["of"]) if found else None


def _containers(identity: str) -> Set[str]:
    """What an object goes with when it is dropped."""
    return {container for container in _each_container(identity) if container != identity}


def _each_container(identity: str) -> Iterator[str]:
    on_type, table = _ON_TYPE.search(identity), _table(identity)
    whole = on_type["type"] if on_type else f"relation {table}" if table else identity
    yield whole
    if within := _SCHEMA.match(whole):
        yield f"schema {within['schema']}"


def _said_by(identity: str) -> Set[str]:
    """What says the same: a column that it may not be null, a constraint that it has an index."""
    if identity.startswith("not null on "):
        return {identity.removeprefix("not null on ")}
    if found := _INDEX.match(identity):
        return {f"constraint {found['name']} on {_table(identity)}"}
    return frozenset()
