"""Which statements destroy something that only a backup brings back: somebody has to approve of them first.

It is told from a statement's words. The code of a DO is searched for the same words, the texts in it included, since
what it does is known only when it runs; code that builds its words from pieces is not recognised.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from ops_workflows.schema.source import Source
from ops_workflows.schema.statements import Token, tokens

# What is dropped with no row lost: it can be made again from its definition.
_HARMLESS = {
    *("index", "view", "function", "procedure", "routine", "aggregate", "trigger", "policy", "rule", "operator"),
    *("cast", "collation", "statistics", "publication", "event", "access", "text", "role", "user", "group"),
    *("conversion", "transform", "constraint", "default", "not"),
}
_HARMLESS_OF_A_COLUMN = {"expression", "identity"}  # which are names of columns, too
_NEVER_NAMES = {"constraint", "default", "not"}  # unless they are quoted
_HAS_COLUMNS = {"table", "foreign", "type"}
_MAY_HOLD_DELETE = {"with", "merge", "copy", "prepare"}
_ONLY_NAMES_FUNCTIONS = {"grant", "revoke", "comment", "security"}
_UNKNOWN = "call …: what it does is not known"
_MOST_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class Destruction:
    """A statement that destroys something.

    Attributes:
        file: The name of its file.
        line: In which it begins, from 1.
        what: The words that say so.
        text: The beginning of the statement, with '…' for each text in it.
    """

    file: str
    line: int
    what: str
    text: str

    @property
    def told(self) -> str:
        """The beginning of the statement, and where that does not say so, what it destroys."""
        return f"{self.text} ({self.what})" if self.what.startswith(("do ", "call ")) else self.text

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.told}"


def destructions(source: Source) -> list[Destruction]:
    """The statements of a file that destroy something."""
    return [
        Destruction(source.path.name, source.line(statement.start), what, source.outline(statement, _MOST_CHARACTERS))
        for statement in source.statements
        if (what := _destroys(list(tokens(source.text[statement.start : statement.end])))) is not None
    ]


def _destroys(found: Sequence[Token]) -> str | None:
    words = _words(found)
    verb = words[0] if words else ""
    if verb in _JUDGES:
        return _JUDGES[verb](found)
    if verb in _MAY_HOLD_DELETE and "delete" in words:
        return "merge … delete" if verb == "merge" else "delete"
    makes_function = verb == "create" and not {"table", "materialized"} & set(words[1:4])
    if verb not in _ONLY_NAMES_FUNCTIONS and not makes_function and _calls_unlink(found):
        return "lo_unlink"
    return None


def _words(found: Sequence[Token]) -> list[str]:
    """The word of each token; empty for what is none."""
    return [token.word for token in found]


def _explained(found: Sequence[Token]) -> str | None:
    """EXPLAIN carries out what it is given, if it is to ANALYZE."""
    begin = 1
    if [token.text for token in found[1:2]] == ["("]:
        begin = next((at for at, token in enumerate(found) if token.text == ")" and token.depth == 1), len(found)) + 1
    else:
        while begin < len(found) and found[begin].word in {"analyze", "analyse", "verbose"}:
            begin += 1
    if not {"analyze", "analyse"} & {token.word for token in found[:begin]}:
        return None
    what = _destroys(found[begin:])
    return f"explain analyze … {what}" if what else None


def _dropped(words: Sequence[str], at: int) -> str | None:
    """`DROP kind name`, whose CASCADE takes along nobody knows what."""
    kind = (*words[at + 1 : at + 2], "")[0]
    if "cascade" in words[at + 1 :]:
        return f"drop {kind} … cascade" if kind in _HARMLESS else f"drop {kind}".strip()
    return None if kind in _HARMLESS else f"drop {kind}".strip()


def _altered(words: Sequence[str]) -> str | None:
    """`ALTER TABLE … DROP [COLUMN] name`, an attribute or a value of a type; or another TYPE, which may cut."""
    has_columns = bool(_HAS_COLUMNS & set(words[1:3]))
    for at, word in enumerate(words):
        if word == "drop" and at:
            kind = (*words[at + 1 : at + 2], "")[0]
            harmless = _NEVER_NAMES if has_columns else _HARMLESS
            if kind not in harmless and not (kind in _HARMLESS_OF_A_COLUMN and _is_of_a_column(words, at)):
                return "alter … drop"
            if "cascade" in words[at + 1 :]:
                return "alter … drop … cascade"
        if word == "type" and (list(words[at - 2 : at]) == ["set", "data"] or _is_of_a_column(words, at)):
            return "alter … type"
    return None


def _is_of_a_column(words: Sequence[str], at: int) -> bool:
    """Whether `ALTER [COLUMN] name` is before a word, and not the ALTER of the statement itself."""
    before = list(words[1:at])
    if before[-1:] == ["column"]:
        return False
    return before[-2:-1] == ["alter"] or before[-3:-1] in (["alter", "column"], ["alter", "attribute"])


def _calls_unlink(found: Sequence[Token]) -> bool:
    return any(
        token.text.lower() in {"lo_unlink", '"lo_unlink"'} and behind.text == "(" for token, behind in pairwise(found)
    )


def _done_by_code(found: Sequence[Token]) -> str | None:
    for ends, group in groupby(_within(found), key=lambda token: token.text == ";"):
        if not ends and (what := _done_by_piece(list(group))) is not None:
            return f"do … {what}"
    return None


def _within(found: Sequence[Token]) -> Iterator[Token]:
    """Texts broken up into what they consist of, for a text may be code."""
    for token in found:
        if not token.is_literal:
            yield token
            continue
        mark = "'" if token.text.endswith("'") else token.text[: token.text.index("$", 1) + 1]
        text = token.text[token.text.index(mark) + len(mark) : -len(mark)]
        yield from _within(list(tokens(text.replace("''", "'") if mark == "'" else text)))


def _done_by_piece(found: Sequence[Token]) -> str | None:
    """What is destroyed by code between two semicolons."""
    words = _words(found)
    for at, word in enumerate(words):
        before, behind = (words[at - 1] if at else ""), (*words[at + 1 : at + 2], "")[0]
        what: str | None = None
        if word == "truncate":
            what = "truncate"
        elif word == "delete" and (behind == "from" or before == "then"):
            what = "delete"
        elif word == "drop" and "alter" not in words[:at]:
            what = _dropped(words, at)
        elif word == "alter":
            what = _altered(words[at:])
        elif word == "call" and at + 1 < len(found) and found[at + 1].kind != "mark":
            what = _UNKNOWN
        if what is not None:
            return what
    return "lo_unlink" if _calls_unlink(found) else None


_JUDGES: dict[str, Callable[[Sequence[Token]], str | None]] = {
    "alter": lambda found: _altered(_words(found)),
    "call": lambda _found: _UNKNOWN,
    "delete": lambda _found: "delete",
    "do": _done_by_code,
    "drop": lambda found: _dropped(_words(found), 0),
    "explain": _explained,
    "truncate": lambda _found: "truncate",
}
