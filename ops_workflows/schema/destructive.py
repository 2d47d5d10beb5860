"""Which statements destroy something that only a backup brings back: somebody has to approve of them first.

It is told from a statement's words. The code of a DO is searched for the same words, since what it does is known only
when it runs; code that builds its words from pieces is not recognised.
"""

import re
from dataclasses import dataclass

from ops_workflows.schema.source import Source
from ops_workflows.schema.statements import Statement

# What is dropped with no row lost: it can be made again from its definition.
_HARMLESS = {
    *("index", "view", "function", "procedure", "routine", "aggregate", "trigger", "policy", "rule", "operator"),
    *("cast", "collation", "statistics", "publication", "event", "access", "text", "constraint", "default", "not"),
    *("expression", "identity", "role", "user", "group", "conversion", "transform"),
}
_BODY = re.compile(
    r"\b(drop\s+(?:table|schema|column|materialized|sequence|type|database)|truncate|delete\s+from)\b", re.I
)
_MOST_CHARACTERS = 80
_CODE = {"do", "call"}  # a function that is only made destroys nothing yet


@dataclass(frozen=True, slots=True)
class Destruction:
    """A statement that destroys something.

    Attributes:
        file: The name of its file.
        line: In which it begins, from 1.
        what: The words that say so.
        text: The beginning of the statement.
    """

    file: str
    line: int
    what: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.text}"


def destructions(source: Source) -> list[Destruction]:
    """The statements of a file that destroy something."""
    return [
        Destruction(source.path.name, source.line(statement.start), what, _beginning(source, statement))
        for statement in source.statements
        if (what := _destroys(source, statement)) is not None
    ]


def _beginning(source: Source, statement: Statement) -> str:
    text = " ".join(source.text[statement.start : statement.end].split())
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


def _destroys(source: Source, statement: Statement) -> str | None:
    words = statement.words
    first, second = (*words, "", "")[:2]
    if first in {"truncate", "delete"} or (first == "with" and "delete" in words):
        return "truncate" if first == "truncate" else "delete"
    if first == "drop" and second not in _HARMLESS:
        return f"drop {second}"
    if first == "alter":
        return _dropped_by_alter(words)
    if first in _CODE and (found := _BODY.search(source.text, statement.start, statement.end)):
        return f"{first} … {' '.join(found[0].lower().split())}"
    return None


def _dropped_by_alter(words: tuple[str, ...]) -> str | None:
    """`ALTER TABLE … DROP [COLUMN] name`, or an attribute or a value of a type; a dropped constraint loses no row."""
    for at, word in enumerate(words):
        if word == "drop" and words[at + 1 : at + 2] and words[at + 1] not in _HARMLESS:
            return "alter … drop"
        if word == "drop" and at + 1 == len(words):
            return "alter … drop"  # of a quoted name
    return None
