"""One migration file, read before anything is begun: its text, its SHA-256, and how it wants to be run.

A comment above the first statement may say how, so that golang-migrate can still run the file:

    -- ops: no-transaction
    -- ops: lock-timeout 5s
    -- ops: statement-timeout 30min
    -- ops: restores-data
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from ops_workflows.errors import ConfigurationError
from ops_workflows.schema.statements import Statement, outline, statements, tokens

_DIRECTIVE = re.compile(r"^--\s*ops:\s*(?P<said>.*?)\s*$", re.MULTILINE)
_TIMEOUT = re.compile(r"(?P<which>lock|statement)-timeout\s+(?P<number>\d+)\s*(?P<unit>ms|s|min|h)")
_SECONDS = {"ms": 0.001, "s": 1, "min": 60, "h": 3600}
_BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class Source:
    """What a file says.

    Attributes:
        path: Its own.
        text: All of it.
        sha256: Of its bytes, hex.
        statements: Its statements.
        whole: Whether it is run as one transaction, together with the version that it leads to.
        lock_timeout: Seconds that a statement may wait for a lock; None for the usual.
        statement_timeout: Seconds that a statement may take; None for the usual.
        restores_data: Whether, being a way back, it promises to bring the rows back as they were.
        no_transaction: Whether its head asks for none; other files are not whole for what is in them.
    """

    path: Path
    text: str
    sha256: str
    statements: tuple[Statement, ...]
    whole: bool
    lock_timeout: float | None = None
    statement_timeout: float | None = None
    restores_data: bool = False
    no_transaction: bool = False

    def line(self, offset: int) -> int:
        """The number of the line of a character, from 1."""
        return self.text.count("\n", 0, offset) + 1

    def outline(self, statement: Statement, most: int) -> str:
        """The beginning of a statement on one line, to be kept and shown: '…' for each text, which may be a secret.

        Args:
            statement: Which.
            most: Characters.
        """
        text = outline(self.text[statement.start : statement.end])
        return text if len(text) <= most else f"{text[:most]}…"


def read_source(path: Path) -> Source:
    """Read a file and what its head says.

    Raises:
        ConfigurationError: It cannot be read as UTF-8 text, begins with a byte order mark, begins a transaction and
            does not end it, builds an index concurrently without a name, or asks for something that there is not.
    """
    try:
        content = path.read_bytes()
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The migration {path} cannot be read: {error}. Save it as UTF-8.") from None
    if text.startswith(_BOM):
        raise ConfigurationError(f"{path} begins with a byte order mark, which PostgreSQL refuses: save it without.")
    found = tuple(statements(text))
    head = text[: found[0].start] if found else text
    alone, restores, timeouts = False, False, dict[str, float]()
    for directive in _DIRECTIVE.finditer(head):
        said = directive["said"]
        timeout = _TIMEOUT.fullmatch(said)
        if timeout:
            timeouts[timeout["which"]] = int(timeout["number"]) * _SECONDS[timeout["unit"]]
        elif said == "no-transaction":
            alone = True
        elif said == "restores-data":
            restores = True
        else:
            line = text.count("\n", 0, directive.start()) + 1
            raise ConfigurationError(
                f"{path}, line {line}: “-- ops: {said}” is not understood. There are no-transaction, restores-data, "
                "lock-timeout and statement-timeout, the last two with a time such as 5s."
            )
    _require_ends(path, text, found)
    _require_names(path, text, found)
    free = alone or any(each.stands_alone or each.controls_transactions for each in found)
    digest = hashlib.sha256(content).hexdigest()
    return Source(path, text, digest, found, not free, timeouts.get("lock"), timeouts.get("statement"), restores, alone)


def _require_ends(path: Path, text: str, found: tuple[Statement, ...]) -> None:
    open_since: Statement | None = None
    for statement in found:
        if statement.begins("begin") or statement.begins("start", "transaction"):
            open_since = statement
        elif statement.ends_transaction:
            open_since = None
    if open_since is not None:
        line = text.count("\n", 0, open_since.start) + 1
        raise ConfigurationError(
            f"{path}, line {line}, begins a transaction and does not end it: add COMMIT, or remove BEGIN: each file "
            "is one transaction."
        )


def _require_names(path: Path, text: str, found: tuple[Statement, ...]) -> None:
    for statement in found:
        if not (statement.is_concurrent and statement.begins("create")):
            continue
        words = [token.word for token in tokens(text[statement.start : statement.end])]
        if words[words.index("concurrently") + 1 :][:1] == ["on"]:
            line = text.count("\n", 0, statement.start) + 1
            raise ConfigurationError(
                f"{path}, line {line}, builds an index concurrently without a name: give it a name, for without one it "
                "could not be found again if the build is interrupted."
            )
