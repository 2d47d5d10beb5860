import stat
from pathlib import Path

from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from ops_workflows.local.envfile import BEGIN, END, write_block


def test_the_block_is_put_before_what_a_person_wrote(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# mine\nOPS_S3_BUCKET=mine\n")
    write_block(file, {"OPS_S3_BUCKET": "ours", "OPS_HOME": "/a"})
    assert file.read_text() == f"{BEGIN}\nOPS_S3_BUCKET='ours'\nOPS_HOME='/a'\n{END}\n# mine\nOPS_S3_BUCKET=mine\n"
    assert dotenv_values(file) == {"OPS_S3_BUCKET": "mine", "OPS_HOME": "/a"}


def test_the_block_alone_is_replaced_where_it_stands(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(f"ABOVE=1\n{BEGIN}\nOLD='x'\n{END}\nBELOW=2\n")
    write_block(file, {"NEW": "y"})
    assert file.read_text() == f"ABOVE=1\n{BEGIN}\nNEW='y'\n{END}\nBELOW=2\n"


def test_a_block_without_an_end_takes_nothing_of_a_persons_with_it(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(f"{BEGIN}\nMINE=1\n")
    write_block(file, {"NEW": "y"})
    assert dotenv_values(file) == {"NEW": "y", "MINE": "1"}


def test_it_is_for_its_owner_alone_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("MINE=1\n")
    file.chmod(0o644)
    write_block(file, {"NEW": "y"})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


@given(value=st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Zl", "Zp", "Cc"])))
def test_every_value_is_read_as_it_was_written(value: str, tmp_path_factory: object) -> None:
    file = Path(tmp_path_factory.mktemp("env"), ".env")  # type: ignore[attr-defined]
    write_block(file, {"VALUE": value})
    assert dotenv_values(file, interpolate=True) == {"VALUE": value}
