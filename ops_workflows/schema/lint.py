"""What squawk says of migration files: statements that lock or rewrite a table, or that do not even parse.

https://squawkhq.com/docs/rules. A file says in a comment which rule it breaks on purpose: `-- squawk-ignore RULE`.
"""

import json
import subprocess
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops_workflows.errors import ConfigurationError
from ops_workflows.schema.source import Source

_SECONDS = 60
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
        return f"{self.file}, line {self.line}: {self.said} ({self.rule})"


def lint(sources: Sequence[Source], server_major: int) -> list[Finding]:
    """Have squawk look at files.

    Args:
        sources: Which; they must lie where they were read from.
        server_major: Major version of the server that they are meant for.

    Raises:
        ConfigurationError: squawk is not installed, or failed.
    """
    whole = [source.path for source in sources if source.whole]
    others = [source.path for source in sources if not source.whole]
    found = [
        *_squawk(whole, server_major, "--assume-in-transaction"),
        *_squawk(others, server_major, "--no-assume-in-transaction"),
    ]
    return sorted(found, key=lambda finding: (finding.file, finding.line))


def _squawk(paths: Sequence[Path], server_major: int, assume: str) -> Iterator[Finding]:
    if not paths:
        return
    program = Path(sysconfig.get_path("scripts")) / "squawk"
    options = [assume, f"--pg-version={server_major}.0", "--reporter=json", f"--exclude={','.join(_LEFT_OUT)}"]
    try:
        done = subprocess.run(
            [program, *options, "--", *(path.absolute() for path in paths)],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            cwd=paths[0].parent,  # where a .squawk.toml may lie, or above
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"squawk, which looks at migrations, cannot be run: {error}.") from error
    try:
        said = json.loads(done.stdout)
    except json.JSONDecodeError:
        raise ConfigurationError(f"squawk, which looks at migrations, failed: {done.stderr.strip()}.") from None
    for each in said:
        words = [each["message"], each.get("help")]
        text = " ".join(" ".join(str(part).split()) for part in words if part)
        yield Finding(Path(each["file"]).name, int(each["line"]) + 1, each["rule_name"], text)
