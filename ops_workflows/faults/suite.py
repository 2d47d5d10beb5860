"""The whole suite: what is whole passes, each fault is made, looked at and mended, and nothing is left of it all."""

import fnmatch
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from random import Random

from ops_workflows.errors import OpsError, RefusedError
from ops_workflows.faults import (
    broken_faults,
    canary_faults,
    chain_faults,
    dump_faults,
    forged_faults,
    healthy,
    key_faults,
    machine_faults,
    network_faults,
    object_faults,
    wal_faults,
)
from ops_workflows.faults.kinds import Fault, Healthy, SkippedError
from ops_workflows.faults.outcome import Caught, Outcome, Summary, Verdict, judge
from ops_workflows.faults.place import place_of_its_own
from ops_workflows.faults.stage import Stage
from ops_workflows.progress import SILENT, Progress, Silent
from ops_workflows.settings import Settings

_FAMILIES = (
    object_faults,
    chain_faults,
    forged_faults,
    wal_faults,
    canary_faults,
    broken_faults,
    dump_faults,
    key_faults,
    network_faults,
    machine_faults,
)


def faults() -> list[Fault]:
    """Every kind of fault."""
    return [fault for family in _FAMILIES for fault in family.faults()]


def as_markdown() -> str:
    """Which kinds there are, and by which rung each must be caught at the latest: the table in docs/proof.md."""
    rows: dict[tuple[str, str], list[str]] = {}
    for fault in faults():
        rows.setdefault((fault.family, fault.must), []).append(fault.kind)
    lines = [f"| {family} | {'; '.join(kinds)} | `{must}` |" for (family, must), kinds in rows.items()]
    quiet: dict[str, list[str]] = {}
    for variation in healthy.variations():
        quiet.setdefault(variation.family, []).extend(variation.kinds)
    lines += [f"| {family} | {'; '.join(kinds)} | nothing |" for family, kinds in quiet.items()]
    return "\n".join(["| family | kinds | must be caught by |", "|---|---|---|", *lines])


def run_suite(
    settings: Settings,
    seed: int,
    *,
    only: str = "*",
    fast: bool = False,
    progress: Progress = SILENT,
    report: Callable[[Outcome], None] = lambda _outcome: None,
) -> Summary:
    """Try every kind, in a prefix of the suite's own, of which nothing is left afterwards.

    Args:
        settings: Which bucket or folder, which programs, which scratch folder; nothing else of them counts.
        seed: What chance begins with.
        only: A pattern for the names of kinds or families, as in a shell; what holds no `*` may stand anywhere in it.
        fast: One kind of each family only, and what is quickly healthy.
        progress: Hears what is being made.
        report: Called with each outcome.

    Raises:
        RefusedError: No kind fits the pattern, or what is whole does not pass, so that nothing can be shown.
        OpsError: What the faults are made in could not be made.
    """
    began = time.monotonic()
    wanted = [fault for fault in faults() if (fault.fast or not fast) and _fits(only, fault.kind, fault.family)]
    variations = [
        each for each in healthy.variations() if (each.fast or not fast) and _fits(only, *each.kinds, each.family)
    ]
    if not wanted and not variations:
        raise RefusedError(f"No kind of fault fits {only!r}: `ops faults --fast` names some of them.")
    outcomes: list[Outcome] = []

    def note(outcome: Outcome) -> None:
        outcomes.append(outcome)
        report(outcome)

    with ExitStack() as stack:
        own = stack.enter_context(place_of_its_own(settings, progress))
        stage = Stage(own, stack, _Sentences(progress))
        if wanted:
            _require_whole(stage)
        for fault in wanted:
            note(_try_fault(stage, fault, seed))
        for variation in variations:
            for outcome in _try_healthy(stage, variation, seed):
                note(outcome)
    return Summary(seed, tuple(outcomes), time.monotonic() - began)


def _require_whole(stage: Stage) -> None:
    """See to it that what is whole passes: otherwise a rung that fails shows nothing."""
    for look in (stage.look(), stage.look(stage.scene.incremental), stage.look_at_dump()):
        caught = look()
        if caught.by is not None:
            raise RefusedError(f"What is whole does not pass, so no fault shows anything. {caught.by}: {caught.said}")


def _try_fault(stage: Stage, fault: Fault, seed: int) -> Outcome:
    began = time.monotonic()

    def outcome(verdict: Verdict, said: str, by: str | None = None) -> Outcome:
        return Outcome(fault.kind, fault.family, fault.must, by, said, verdict, time.monotonic() - began)

    try:
        with fault.make(stage, Random(f"{seed} {fault.kind}")) as made:  # noqa: S311 - chance, and no secret
            caught = made.look()
            verdict, said = judge(fault.must, made.words, caught)
            return outcome(verdict, said, caught.by)
    except SkippedError as why:
        return outcome(Verdict.SKIPPED, str(why))
    except Exception as error:  # noqa: BLE001 - a defect of ours: no person is meant to read such an error
        return outcome(Verdict.BROKEN, _defect(error))


def _try_healthy(stage: Stage, variation: Healthy, seed: int) -> Iterator[Outcome]:
    began = time.monotonic()
    caught: Caught | None = None
    try:
        with variation.make(stage, Random(f"{seed} {variation.kinds[0]}")) as look:  # noqa: S311 - chance, and no secret
            caught = look()
        verdict, said = (Verdict.QUIET if caught.by is None else Verdict.FALSE_ALARM), caught.said
    except SkippedError as why:
        verdict, said = Verdict.SKIPPED, str(why)
    except Exception as error:  # noqa: BLE001 - a defect of ours: no person is meant to read such an error
        verdict, said = Verdict.BROKEN, _defect(error)
    for kind in variation.kinds:
        by, seconds = (caught.by if caught else None), (time.monotonic() - began) / len(variation.kinds)
        yield Outcome(kind, variation.family, None, by, said, verdict, seconds)


def _defect(error: Exception) -> str:
    said = " ".join(str(error).split())
    return said if isinstance(error, OpsError) else f"The fault suite itself failed: {type(error).__name__}: {said}"


def _fits(pattern: str, *names: str) -> bool:
    whole = pattern if "*" in pattern else f"*{pattern}*"
    return any(fnmatch.fnmatchcase(name, whole) for name in names)


class _Sentences(Silent):
    """Passes on what deserves a sentence; of the phases of a hundred looks nobody wants to hear."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def say(self, sentence: str) -> None:
        """A sentence."""
        self._progress.say(sentence)
