import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.lsn import Lsn


@given(st.integers(0, 2**64 - 1))
def test_what_is_printed_can_be_read(value: int) -> None:
    assert Lsn.parse(str(Lsn(value))) == value


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_order_is_that_of_the_log(one: int, other: int) -> None:
    assert (Lsn(one) < Lsn(other)) == (one < other)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0/0", 0), ("16/B374D848", 0x16B374D848), ("FFFFFFFF/FFFFFFFF", 2**64 - 1), ("a/b", 0xA0000000B)],
)
def test_reads_postgresqls_notation(text: str, value: int) -> None:
    assert Lsn.parse(text) == value


@pytest.mark.parametrize("text", ["", "/", "0", "0/", "/0", "0/0/0", "x/y", "1/123456789"])
def test_refuses_anything_else(text: str) -> None:
    with pytest.raises(DatabaseError, match="is no LSN"):
        Lsn.parse(text)
