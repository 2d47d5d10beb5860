"""What squawk says of migration files: statements that lock or rewrite a table, or that do not even parse.

https://squawkhq.com/docs/rules. A file says in a comment which rule it breaks on purpose: `-- squawk-ignore RULE`.
"""

import json
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops_workflows.errors import ConfigurationError
from ops_workflows.schema.script import caret
from ops_workflows.schema.source import Source

_SECONDS = 60
_SYNTAX = "syntax-error"
# Of style, or of what this project sees to itself: both timeouts are always set, and what destroys something needs an
# approval.
_LEFT_OUT = (
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    "prefer-identity",
    "prefer-robust-stmts",
    "prefer-text-field",
    "prefer-timestamptz",
    "ban-char-field",
    "ban-drop-column",
    "ban-drop-database",
    "ban-drop-table",
    "require-lock-timeout",
    "require-statement-timeout",
    "require-timeout-settings",
    "transaction-nesting",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that squawk has found.

    Attributes:
        file: The name of the file.
        line: From 1.
        rule: Its name at squawk; `syntax-error` for what cannot be parsed.
        said: What is wrong, and what to do instead.
    """

    file: str
    line: int
    rule: str
    said: str

    def __str__(self) -> str:
        said, newline, place = self.said.partition("\n")  # the rule comes before the line that is shown
        return f"{self.file}, line {self.line}: {said} ({self.rule}){newline}{place}"


def lint(sources: Sequence[Source], server_major: int) -> list[Finding]:
    """Have squawk look at files.

    Args:
        sources: Which; squawk gets their text as it was read. A .squawk.toml counts that lies beside them, or above.
        server_major: Major version of the server that they are meant for.

    Raises:
        ConfigurationError: squawk is not installed, or failed.
    """
    whole = [source for source in sources if source.whole]
    others = [source for source in sources if not source.whole]
    found = [
        *_squawk(whole, server_major, "--assume-in-transaction"),
        *_squawk(others, server_major, "--no-assume-in-transaction"),
    ]
    return sorted(found, key=lambda finding: (finding.file, finding.line))


def _squawk(sources: Sequence[Source], server_major: int, assume: str) -> Iterator[Finding]:
    if not sources:
        return
    with tempfile.TemporaryDirectory() as folder:
        # Under the same folders, for what a configuration excludes is told from the path.
        paths = [Path(folder, *source.path.absolute().parts[1:]) for source in sources]
        for path, source in zip(paths, sources, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.text.encode())
        texts = {path.name: source.text for path, source in zip(paths, sources, strict=True)}
        yield from _findings(paths, texts, sources[0].path.absolute().parent, server_major, assume)


def _findings(
    paths: Sequence[Path], texts: Mapping[str, str], beside: Path, server_major: int, assume: str
) -> Iterator[Finding]:
    program = Path(sysconfig.get_path("scripts")) / "squawk"
    options = [assume, f"--pg-version={server_major}.0", "--reporter=json", f"--exclude={','.join(_LEFT_OUT)}"]
    options.append("--no-error-on-unmatched-pattern")  # a configuration may exclude all of them
    try:
        done = subprocess.run(
            [program, *options, "--", *paths],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            cwd=beside,  # where a .squawk.toml may lie, or above
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"squawk, which looks at migrations, cannot be run: {error}.") from error
    try:
        said = json.loads(done.stdout)
    except json.JSONDecodeError:
        raise ConfigurationError(f"squawk, which looks at migrations, failed: {done.stderr.strip()}.") from None
    unparsed = set[str]()
    for each in said:
        words = [each["message"], each.get("help")]
        text = " ".join(" ".join(str(part).split()) for part in words if part)
        file, line = Path(each["file"]).name, int(each["line"])
        if each["rule_name"] == _SYNTAX:
            if file in unparsed:
                continue  # what follows from the first is noise
            unparsed.add(file)
            start = sum(map(len, texts[file].splitlines(keepends=True)[:line]))
            text += caret(texts[file], start + int(each["column"]))
        yield Finding(file, line + 1, each["rule_name"], text)
