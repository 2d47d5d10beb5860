"""What a dump's records say, and what is decided from them, without any server."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_workflows.errors import IntegrityError, RefusedError
from ops_workflows.postgres.fingerprint import Content, Table
from ops_workflows.postgres.logical import refuse_older
from ops_workflows.postgres.programs import Programs
from ops_workflows.repository.backup import read
from ops_workflows.repository.dump import Dump, DumpedTable, Fingerprint
from ops_workflows.repository.dumps import object_name


def held(quoted: str, *above: str, oid: int = 1, rows: int = 1, of: str | None = "1") -> DumpedTable:
    schema, _, name = quoted.replace('"', "").partition(".")
    return DumpedTable(table=Table(oid, schema, name, quoted, ("a",), above), content=Content(rows, of))


def found(wanted: str, *tables: DumpedTable) -> str:
    return Fingerprint(databases={"db": tables}).find("db", wanted).quoted


def test_a_table_is_found_by_its_plain_or_its_quoted_name() -> None:
    odd = held('public."A b"')
    assert found("public.A b", odd) == found('public."A b"', odd) == 'public."A b"'


def test_a_partitioned_table_is_found_with_all_its_partitions() -> None:
    tables = (held("s.p_1", "s.p", oid=1, rows=2, of="5"), held("s.p_2", "s.p", oid=2, rows=3, of="-9"), held("s.q"))
    whole = Fingerprint(databases={"db": tables}).find("db", "s.p")
    assert (whole.quoted, whole.oids, whole.content) == ("s.p", {1, 2}, Content(5, "-4"))


def test_an_unknown_table_is_refused_with_those_that_it_might_be() -> None:
    with pytest.raises(RefusedError, match=r"no table users .* is it public\.users\?"):
        found("users", held("public.users"))
    with pytest.raises(RefusedError, match=r"no table public\.users"):
        Fingerprint(databases={}).find("db", "public.users")


def test_a_name_that_fits_two_tables_is_refused() -> None:
    with pytest.raises(RefusedError, match="several"):
        found("a.b.c", held('"a.b".c', oid=1), held('a."b.c"', oid=2))


def test_partitions_of_which_one_was_only_sampled_have_no_hash_together() -> None:
    parts = [Content(2, "5"), Content(3, None, (7, 8))]
    assert Content.together(parts) == Content(5, None, (7, 8))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(-(2**63), 2**63 - 1))))
def test_a_sum_of_hashes_is_exact_however_many_there_are(parts: list[tuple[int, int]]) -> None:
    whole = Content.together(Content(rows, str(one)) for rows, one in parts)
    assert whole == Content(sum(rows for rows, _ in parts), str(sum(one for _, one in parts)))


@given(st.text(min_size=1))
def test_any_database_has_a_key_of_its_own_without_a_slash(name: str) -> None:
    assert "/" not in object_name(name)
    assert object_name(name) != object_name(name + "/")
    assert not object_name(name).endswith(".json")


def test_a_fingerprint_survives_being_written() -> None:
    fingerprint = Fingerprint(databases={"db": (held('"ü".t', "a.b", of=str(-(2**80))),)})
    assert read(Fingerprint, fingerprint.model_dump_json().encode(), "key") == fingerprint


def test_a_newer_server_is_refused_and_an_older_one_is_not() -> None:
    programs = Programs(Path("/usr/bin"), 17)
    refuse_older(programs, 170009)
    refuse_older(programs, 150001)
    with pytest.raises(RefusedError, match=r"PostgreSQL 17 and cannot dump PostgreSQL 18: set OPS_PG_BIN_DIR"):
        refuse_older(programs, 180000)


def test_a_record_of_an_unknown_format_is_refused() -> None:
    with pytest.raises(IntegrityError, match="format"):
        read(Dump, b'{"format": 2}', "key")
