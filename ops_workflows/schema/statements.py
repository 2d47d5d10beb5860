"""Where the statements of a script begin and end, and which of them want no transaction around them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

# What must be recognised to know which semicolons end a statement. An E'' string is tried before a word is.
_TOKEN = re.compile(
    r"""
      (?P<blank>   \s+ | --[^\n]* )
    | (?P<comment> /\* )
    | (?P<quoted>  [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
                 | \$(?P<tag>[^\W\d]\w*)?\$ .*? \$(?(tag)(?P=tag))\$ )
    | (?P<word>    [^\W\d][\w$]* )
    | (?P<mark>    . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_LITERAL_NEVER_ENDED = re.compile(r"'|\$(?:[^\W\d]\w*)?\$")

# https://www.postgresql.org/docs/current/sql-begin.html and the pages of the commands themselves
_CONTROL: set[tuple[str, ...]] = {
    ("begin",),
    ("start",),
    ("commit",),
    ("end",),
    ("rollback",),
    ("abort",),
    ("savepoint",),
    ("release",),
}
_CONTROL |= {("prepare", "transaction")}
_ALONE: set[tuple[str, ...]] = {("vacuum",), ("alter", "system"), ("reindex", "database"), ("reindex", "system")}
_ALONE |= {(verb, what) for verb in ("create", "drop", "alter") for what in ("database", "tablespace")}
_CONCURRENT: set[tuple[str, ...]] = {
    ("create", "index"),
    ("create", "unique"),
    ("drop", "index"),
    ("reindex",),
    ("alter", "table"),
}


class Token(NamedTuple):
    """A word, a quoted name or text, or a mark.

    Attributes:
        start: Offset of its first character.
        end: Offset behind its last.
        kind: `word`, `quoted` or `mark`.
        text: It.
        depth: How many brackets and bodies it is inside of.
    """

    start: int
    end: int
    kind: str
    text: str
    depth: int

    @property
    def is_literal(self) -> bool:
        """Whether it is text, and not a name."""
        return self.kind == "quoted" and not self.text.startswith('"')

    @property
    def word(self) -> str:
        """It in lower case, if it is a word; else empty."""
        return self.text.lower() if self.kind == "word" else ""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a script.

    Attributes:
        start: Offset of its first character.
        end: Offset behind its last, the semicolon left out.
        words: Its words in lower case, those in quotes and comments left out.
    """

    start: int
    end: int
    words: tuple[str, ...]

    def begins(self, *words: str) -> bool:
        """Whether these are its first words."""
        return self.words[: len(words)] == words

    @property
    def controls_transactions(self) -> bool:
        """Whether it begins or ends a transaction, or a part of one."""
        return any(self.begins(*words) for words in _CONTROL)

    @property
    def ends_transaction(self) -> bool:
        """Whether it ends a transaction, and not only goes back inside of one."""
        ends = any(self.begins(word) for word in ("commit", "end", "rollback", "abort"))
        return (ends and "to" not in self.words) or self.begins("prepare", "transaction")

    @property
    def stands_alone(self) -> bool:
        """Whether PostgreSQL refuses it inside a transaction."""
        if any(self.begins(*words) for words in _ALONE):
            return True
        return self.is_concurrent

    @property
    def is_concurrent(self) -> bool:
        """Whether it keeps nobody out while it waits for those who were there before."""
        return "concurrently" in self.words and any(self.begins(*words) for words in _CONCURRENT)


def statements(sql: str) -> list[Statement]:
    """The statements of a script, comments and empty ones left out."""
    found: list[Statement] = []
    start, end, words = -1, -1, list[str]()
    for at, until, kind, text, depth in tokens(sql):
        if text == ";" and depth == 0:
            if start >= 0:
                found.append(Statement(start, end, tuple(words)))
            start, words = -1, []
            continue
        if start < 0:
            start = at
        end = until
        if kind == "word":
            words.append(text.lower())
    if start >= 0:
        found.append(Statement(start, end, tuple(words)))
    return found


def outline(sql: str) -> str:
    """A statement on one line, without its comments, and with '…' for each text in it: a text may be a secret."""
    parts, behind = list[str](), 0
    for token in tokens(sql):
        if parts and token.start > behind:
            parts.append(" ")
        if _LITERAL_NEVER_ENDED.match(sql, token.start) and not token.is_literal:
            return "".join([*parts, "'…"])
        parts.append("'…'" if token.is_literal else " ".join(token.text.split()))
        behind = token.end
    return "".join(parts)


def tokens(sql: str) -> Iterator[Token]:
    """What a script consists of, blanks and comments left out."""
    at, depth, atomic, last_word = 0, 0, False, ""
    while match := _TOKEN.match(sql, at):
        start, at = match.start(), match.end()
        kind, text = match.lastgroup or "", match.group()
        if kind == "tag":
            kind = "quoted"
        if kind == "comment":
            at = _comment_end(sql, at)
        if kind in {"blank", "comment"}:
            continue
        word = text.lower() if kind == "word" else ""
        # A function body in standard SQL holds semicolons between BEGIN ATOMIC and END; a rule holds them in brackets.
        opens_body = word == "atomic" and last_word == "begin"
        atomic = (atomic or opens_body) and not (text == ";" and depth == 0)
        yield Token(start, at, kind, text, depth)
        if text == "(" or opens_body or (atomic and word == "case"):
            depth += 1
        elif text == ")" or (atomic and word == "end"):
            depth -= 1
        last_word = "" if text == ";" and depth == 0 else word


def _comment_end(sql: str, at: int) -> int:
    """Where a comment ends that was opened before `at`; in PostgreSQL they nest."""
    depth = 1
    while depth and (edge := _COMMENT_EDGE.search(sql, at)):
        depth += 1 if edge.group() == "/*" else -1
        at = edge.end()
    return len(sql) if depth else at
