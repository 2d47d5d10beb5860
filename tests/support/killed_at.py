"""`python -m tests.support.killed_at WORDS …`: `ops …`, killed with -9 when a phase or a sentence begins with WORDS."""

import os
import signal
import sys
from pathlib import Path

from ops_workflows.cli import main
from ops_workflows.cli.render import Bars
from ops_workflows.settings import Settings
from tests.support.command import as_environment, run


def killed_at(settings: Settings, words: str, *command: str) -> None:
    """Run such a command; it has to come to that."""
    python = (sys.executable, "-m", "tests.support.killed_at", words)
    done = run(*python, *command, folder=Path(__file__).parents[2], env=as_environment(settings))
    assert done.code == -signal.SIGKILL, done


def _killing(words: str) -> None:
    begin, say = Bars.begin, Bars.say

    def begins(self: Bars, phase: str, total: int | None, unit: str = "") -> None:
        _kill_if(phase.startswith(words))
        begin(self, phase, total, unit)

    def says(self: Bars, sentence: str) -> None:
        _kill_if(sentence.startswith(words))
        say(self, sentence)

    Bars.begin, Bars.say = begins, says  # type: ignore[method-assign]


def _kill_if(now: bool) -> None:
    if now:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _killing(sys.argv.pop(1))
    main()
