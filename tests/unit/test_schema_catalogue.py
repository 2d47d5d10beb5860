"""Which objects of a catalogue differ, each told once."""

import pytest

from ops_workflows.schema.catalogue import differences, without

TABLE = {
    "schema public": "",
    "relation public.t": "1",
    "rights on relation public.t": "2",
    "order of columns on public.t": "3",
    "column public.t.id": "4",
    "not null on column public.t.id": "5",
    "sequence public.t_id_seq on public.t": "6",
    "constraint t_pkey on public.t": "7",
    "index public.t_pkey on public.t": "8",
    "index public.t_odd on public.t": "9",
    "trigger t_touch on public.t": "10",
    "function public.touch()": "11",
    "type public.size": "12",
    "constraint size_check on type public.size": "13",
}


def lacking(*identities: str) -> dict[str, str]:
    return {identity: digest for identity, digest in TABLE.items() if identity not in identities}


def test_what_is_equal_has_no_differences() -> None:
    assert differences(TABLE, dict(reversed(TABLE.items()))) == []


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (tuple(each for each in TABLE if "public.t" in each and "touch()" not in each), "relation public.t"),
        (("column public.t.id", "not null on column public.t.id"), "column public.t.id"),
        (("constraint t_pkey on public.t", "index public.t_pkey on public.t"), "constraint t_pkey on public.t"),
        (("index public.t_odd on public.t",), "index public.t_odd on public.t"),
        (("type public.size", "constraint size_check on type public.size"), "type public.size"),
        (("constraint size_check on type public.size",), "constraint size_check on type public.size"),
    ],
)
def test_what_is_gone_as_a_whole_is_said_once_and_likewise_what_is_there_besides(
    gone: tuple[str, ...], said: str
) -> None:
    assert differences(TABLE, lacking(*gone)) == [f"{said} is missing"]
    assert differences(lacking(*gone), TABLE) == [f"{said} is unexpected"]


def test_a_whole_schema_is_said_once() -> None:
    more = {
        "schema app": "",
        "relation app.t": "",
        "column app.t.x": "",
        "index app.i on app.t": "",
        "type app.e": "",
        "constraint c on type app.e": "",
        "function app.f(a app.e, b text)": "",
    }
    assert differences(TABLE, TABLE | more) == ["schema app is unexpected"]
    assert differences(TABLE | more, TABLE) == ["schema app is missing"]


def test_each_part_of_a_table_that_differs_is_named_and_what_says_the_same_is_not() -> None:
    other = TABLE | dict.fromkeys(
        (
            "relation public.t",
            "column public.t.id",
            "constraint t_pkey on public.t",
            "index public.t_pkey on public.t",
            "index public.t_odd on public.t",
        ),
        "another",
    )
    del other["not null on column public.t.id"]
    assert differences(TABLE, other) == [
        "column public.t.id differs",
        "constraint t_pkey on public.t differs",
        "index public.t_odd on public.t differs",
        "relation public.t differs",
    ]


def test_what_migrations_do_not_decide_is_left_out() -> None:
    found = TABLE | {
        "rights on relation public.t": "others",
        "order of columns on public.t": "another",
        "schema ops": "",
        "rights on schema ops": "x",
        "relation ops.heartbeat": "x",
        "column ops.heartbeat.seq": "x",
        "sequence ops.heartbeat_seq_seq on ops.heartbeat": "x",
        "constraint heartbeat_pkey on ops.heartbeat": "x",
        "function ops.f()": "x",
        "type ops.e": "x",
        "relation public.schema_migrations": "x",
        "column public.schema_migrations.version": "x",
        "not null on column public.schema_migrations.version": "x",
        "index public.schema_migrations_pkey on public.schema_migrations": "x",
        "extension pg_stat_statements": "1.10",
    }
    assert differences(TABLE, found) == []
    assert differences(found, TABLE) == ["extension pg_stat_statements is missing"]
    assert differences({"extension a": "1.0"}, {"extension a": "1.1"}) == []


def test_what_only_sounds_like_ours_is_not_left_out() -> None:
    found = {
        "relation public.my_schema_migrations": "",
        "relation public.ops": "",
        "relation opsx.t": "",
        "trigger ops on public.schema_migrations_log": "",
    }
    assert len(differences({}, found)) == len(found)


def test_a_partition_more_is_no_difference_and_one_less_is() -> None:
    part = {"relation public.t_eu": "", "column public.t_eu.x": "", "index public.t_eu_i on public.t_eu": ""}
    assert differences(TABLE, TABLE | part, {"public.t_eu"}) == []
    assert differences(TABLE, TABLE | part) == ["relation public.t_eu is unexpected"]
    assert differences(TABLE | part, TABLE, {"public.t_us"}) == ["relation public.t_eu is missing"]
    assert differences(TABLE | part, TABLE | part | {"column public.t_eu.x": "another"}, {"public.t_eu"}) == [
        "column public.t_eu.x differs"
    ]


def test_names_that_need_quotes_are_told_apart() -> None:
    odd = {
        'relation public."a.b"': "",
        'column public."a.b"."x on public.t"': "",
        'trigger "g on public.t" on public."a.b"': "",
        'index public."i ""on"" public.t" on public."a.b"': "",
    }
    assert without(odd, {"public.t"}) == odd
    assert without(odd, {'public."a.b"'}) == {}
    assert without(TABLE, {"public.t"}).keys() == {
        "schema public",
        "function public.touch()",
        "type public.size",
        "constraint size_check on type public.size",
    }
    assert differences(odd, {}) == ['relation public."a.b" is missing']
