"""How numbers, lists and tables are put into words."""

from collections.abc import Iterable, Sequence


def counted(number: int, what: str) -> str:
    """Such as `1 file` or `2,000 files`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def as_markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table for Dagster's UI."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in cells)} |" for cells in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def first_few(sentences: Sequence[str], most: int = 5) -> str:
    """The first of them, and how many more there are."""
    more = f" And {len(sentences) - most} more." if len(sentences) > most else ""
    return " ".join(sentences[:most]) + more
