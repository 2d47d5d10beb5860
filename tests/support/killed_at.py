"""`python -m tests.support.killed_at WORDS …`: `ops …`, killed with -9 when a phase or a sentence begins with WORDS."""

import os
import signal
import sys

from ops_workflows.cli import main
from ops_workflows.cli.render import Bars


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
