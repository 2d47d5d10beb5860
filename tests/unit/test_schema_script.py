import pytest

from ops_workflows.schema.session import lock_ids
from ops_workflows.schema.statements import statements


@pytest.mark.parametrize(
    ("script", "starts"),
    [
        ("", []),
        ("-- only; a comment\n", []),
        ("a; b", [0, 3]),
        (";; a;; b;", [3, 7]),
        ("a 'x;y' ; b", [0, 10]),
        ("a 'it''s;' ; b", [0, 13]),
        (r"a E'it\'s;' ; b", [0, 14]),
        (r"a 'back\' ; b", [0, 12]),
        ('a "c;d" ; b', [0, 10]),
        ("/* a; /* b; */ c; */ d; e", [21, 24]),
        ("do $$ begin x; end $$; b", [0, 23]),
        ("do $f$ x; $$ y; $$ z; $f$; b", [0, 27]),
        ("a$b$c; d$b$e", [0, 7]),
        ("create rule r as on insert to t do (a; b); c", [0, 43]),
        ("create function f() begin atomic select case 1 when 1 then 2 end; select 2; end; b", [0, 81]),
        ("begin; atomic; end; b", [0, 7, 15, 20]),
        ("a 'never closed; b", [0]),
    ],
)
def test_knows_where_statements_begin(script: str, starts: list[int]) -> None:
    found = [each.start for each in statements(script)]
    if "never closed" in script:
        assert found[0] == 0  # PostgreSQL refuses it as a whole; all we owe is not to fall over
    else:
        assert found == starts


def test_locks_are_the_ones_that_golang_migrate_takes() -> None:
    assert lock_ids("panchangam", "public", "schema_migrations") == (3330780623, 1263710181)
