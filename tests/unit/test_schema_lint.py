"""What squawk says of files, and which statements destroy something."""

from pathlib import Path

import pytest

from ops_workflows.schema.destructive import destructions
from ops_workflows.schema.files import read_migrations
from ops_workflows.schema.lint import lint
from ops_workflows.schema.source import Source, read_source

ROOT = Path(__file__).parents[2]


def source(folder: Path, script: str) -> Source:
    path = folder / "000001_step.up.sql"
    path.write_text(script)
    return read_source(path)


@pytest.mark.parametrize(
    ("script", "rules"),
    [
        ("create table a (x bigint);", []),
        ("alter table a alter column x type bigint;", ["changing-column-type"]),
        ("alter table a alter column x set not null;", ["adding-not-nullable-field"]),
        (
            "select 1;\nalter table a add column y uuid not null default gen_random_uuid();",
            ["adding-field-with-default"],
        ),
        ("create index i on a (x);", ["require-concurrent-index-creation"]),
        ("create index concurrently i on a (x);", []),
        ("-- squawk-ignore changing-column-type\nalter table a alter column x type bigint;", []),
        ("selec 1;", ["syntax-error"]),
    ],
)
def test_what_it_says(tmp_path: Path, script: str, rules: list[str]) -> None:
    assert list(dict.fromkeys(finding.rule for finding in lint([source(tmp_path, script)], 18))) == rules


def test_a_finding_names_its_line(tmp_path: Path) -> None:
    (finding,) = lint([source(tmp_path, "select 1;\n\ncreate index i on a (x);")], 18)
    assert str(finding).startswith("000001_step.up.sql, line 3: ")


def test_the_applications_own_migrations_are_clean() -> None:
    assert lint([read_source(each.up) for each in read_migrations(ROOT / "migrations")], 18) == []


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("drop table a;", ["drop table"]),
        ("drop index i; drop view v; drop function f();", []),
        ("alter table a drop column x;", ["alter … drop"]),
        ("alter table a drop x, add y int;", ["alter … drop"]),
        ('alter table a drop "x";', ["alter … drop"]),
        ("alter table a drop constraint c, alter y drop not null, alter z drop default;", []),
        ("alter type t drop attribute x;", ["alter … drop"]),
        ("truncate a;", ["truncate"]),
        ("delete from a where x;", ["delete"]),
        ("with gone as (delete from a returning x) insert into b select x from gone;", ["delete"]),
        ("do $$ begin drop table a; end $$;", ["do … drop table"]),
        ("do $$ begin perform 1; end $$;", []),
        ("create function f() returns void language sql as 'delete from a';", []),
        ("comment on table a is 'drop table a';", []),
        ("drop schema s cascade;", ["drop schema"]),
        ("insert into a values ('truncate');", []),
        ("alter table users drop role;", ["alter … drop"]),
        ("alter table users drop if exists identity;", ["alter … drop"]),
        ("alter table users alter a drop identity, drop constraint c, drop role;", ["alter … drop"]),
        ("alter table users alter a drop identity, alter column b drop expression if exists;", []),
        ("alter table users drop constraint c cascade;", ["alter … drop … cascade"]),
        ("drop function f() cascade;", ["drop function … cascade"]),
        ("alter table a alter column x type int;", ["alter … type"]),
        ('alter table a add y int, alter "x" set data type int;', ["alter … type"]),
        ("alter table a add column type text; alter table type add x int; alter table a alter type set not null;", []),
        ("merge into a using b on a.x = b.x when matched then delete;", ["merge … delete"]),
        ("merge into a using b on a.x = b.x when matched then do nothing;", []),
        ("explain analyze verbose delete from a;", ["explain analyze … delete"]),
        ("explain (costs off, analyze) delete from a;", ["explain analyze … delete"]),
        ("explain (costs off) delete from a; explain analyze select 1;", []),
        ("copy (delete from a returning x) to program 'true';", ["delete"]),
        ("select lo_unlink(photo) from users;", ["lo_unlink"]),
        ("grant execute on function lo_unlink(oid) to ops;", []),
        ("call tidy();", ["call …: what it does is not known"]),
        ("do $$ begin alter table users drop role; end $$;", ["do … alter … drop"]),
        ("do $$ begin drop /* all */ table -- of it\n a; end $$;", ["do … drop table"]),
        ("do 'begin execute ''drop table a''; end';", ["do … drop table"]),
        ("do $$ begin execute $q$ delete from a $q$; end $$;", ["do … delete"]),
        ("do $$ begin call tidy(); end $$;", ["do … call …: what it does is not known"]),
        ("do $$ begin drop index i; alter table a add foreign key (x) references b on delete cascade; end $$;", []),
    ],
)
def test_what_destroys(tmp_path: Path, script: str, what: list[str]) -> None:
    assert [each.what for each in destructions(source(tmp_path, script))] == what


def test_what_a_call_does_is_not_known_and_no_text_is_shown(tmp_path: Path) -> None:
    (found,) = destructions(source(tmp_path, "call tidy(E'it\\'s a secret', $q$secret$q$, \"a\"); -- secret"))
    assert str(found) == "000001_step.up.sql, line 1: call tidy('…', '…', \"a\") (call …: what it does is not known)"


def test_what_was_read_is_what_squawk_gets_under_the_configuration_beside_it(tmp_path: Path) -> None:
    read = source(tmp_path, "create index i on a (x);")
    read.path.write_text("select 1;")
    assert [finding.rule for finding in lint([read], 18)] == ["require-concurrent-index-creation"]
    (tmp_path / ".squawk.toml").write_text(f'excluded_paths = ["*{tmp_path.name}/000001_step.up.sql"]')
    assert lint([read], 18) == []


def test_a_destruction_names_its_line(tmp_path: Path) -> None:
    (found,) = destructions(source(tmp_path, "select 1;\n-- old\ndrop table a;"))
    assert str(found) == "000001_step.up.sql, line 3: drop table a"


def test_what_does_not_parse_is_said_once_with_its_line_and_a_caret(tmp_path: Path) -> None:
    script = "-- a comment\n" * 79 + "select 1; creat table a (x int);"
    (found,) = lint([source(tmp_path, script)], 18)
    assert str(found) == (
        "000001_step.up.sql, line 80: expected command, found IDENT (syntax-error)\n"
        "    select 1; creat table a (x int);\n"
        "              ^"
    )
