"""`ops status | verify | drill | canary`."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops_workflows.cli.backups import From, Json, System, settings_at
from ops_workflows.repository.rungs import Rung
from ops_workflows.settings import Settings

if TYPE_CHECKING:
    from ops_workflows.proof.ladder import Ladder
    from ops_workflows.proof.protection import Protection
    from ops_workflows.proof.rungs import Climb
    from ops_workflows.repository.backup import Backup
    from ops_workflows.repository.records import Catalogue

_ALL = "all"


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(status)
    app.command()(verify)
    app.command()(drill)
    app.command()(canary)


def status(*, source: From = None, system: System = None, json: Json = False) -> None:
    """Say whether the database could come back right now: window, lag, backups and proofs, RPO now, RTO to expect.

    Exit code 1 if anything speaks against it.
    """
    from ops_workflows.cli.render import as_json, facts, out
    from ops_workflows.proof.protection import protection

    found = protection(settings_at(source, system))
    problems = found.problems()
    if json:
        as_json(found.as_dict())
    else:
        facts(_screen(found))
        for sign, sentences in (("[red]✗[/]", problems), ("[yellow]![/]", found.warnings())):
            for sentence in sentences:
                out.print(sign, end=" ")
                out.print(sentence, markup=False, highlight=False, soft_wrap=True)
        if not problems:
            out.print("[green]✓[/] Protected.")
    raise typer.Exit(1 if problems else 0)


def _screen(found: "Protection") -> dict[str, str]:
    from ops_workflows.cli.render import size, span, when

    wal, proved, expected, breaks = found.wal, found.proved, found.forecast, found.breaking
    newest, last = found.newest, found.last_drill
    lag = "unknown" if wal.lag_bytes is None else f"{size(wal.lag_bytes)}, {span(wal.lag_seconds or 0)}"
    rto = "unknown: no drill tells"
    if expected is not None:
        rto = f"{span(expected.expected_seconds)} ({span(expected.low_seconds)} to {span(expected.high_seconds)})"
        rto += f", from {expected.drills} drills" + (", which are few" if expected.rough else "")
    limit = "unknown" if expected is None else "not within sight"
    if breaks is not None:
        limit = f"at {size(breaks.database_bytes)}" + (f", on {breaks.on} at the present growth" if breaks.on else "")
    return {
        "window": f"{when(wal.window[0])} to {when(wal.window[1])} UTC" if wal.window else "none",
        "lag": lag,
        "newest backup": f"{newest.id}, {found.standings[newest.id].said}" if newest else "none",
        "newest proved": f"{proved.id}, {found.standings[proved.id].said}" if proved else "none",
        "RPO now": span(found.rpo_seconds) if found.rpo_seconds is not None else "unknown",
        "RTO to expect": rto,
        "RTO breaks": limit,
        "last drill": f"{last.id}, {'passed' if last.passed else 'failed'}" if last else "none",
    }


def verify(
    *,
    backup: Annotated[str, typer.Option(help="A backup's id from `ops backups`, `latest`, or `all`.")] = "latest",
    rung: Annotated[Rung, typer.Option(help="How far to climb.")] = Rung.SOUND,
    again: Annotated[
        bool, typer.Option("--again", help="Look again at what was shown within OPS_PROOF_DAYS and has not changed.")
    ] = False,
    source: From = None,
    system: System = None,
    json: Json = False,
) -> None:
    """Climb the ladder of proof, rung by rung, up to the first that fails: its object, file, segment or table is named.

    The rungs: stored, checksummed, contiguous, restored, booted, sound, exact. Exit code 1 unless all were shown.
    """
    from ops_workflows.cli.render import as_json, err, out, progress
    from ops_workflows.errors import OpsError
    from ops_workflows.proof.ladder import Ladder
    from ops_workflows.repository.catalogue import open_repository

    settings = settings_at(source, system)
    repository = open_repository(settings)
    known = repository.catalogue()
    found = list(known.readable) if backup == _ALL else [repository.find(backup)]
    if not found:
        repository.find("latest")  # which says that there is none, or what is wrong with all of them
    outcomes: dict[str, list[Climb]] = {}
    untried = _passed_over(known, backup, found)
    with progress(quiet=json) as bars:
        ladder = Ladder(settings, repository, bars, again=again)
        for backup_id, why in untried.items():
            outcomes[backup_id] = []
            bars.say(f"{backup_id}  ? {why}")
        for each in found:
            outcomes[each.id] = []
            try:
                for done in _climbs(ladder, each, rung):
                    outcomes[each.id].append(done)
                    if not json:
                        bars.say(f"{each.id}  {_line(done)}")
            except OpsError as error:
                untried[each.id] = str(error)
                if not json:
                    bars.say(f"{each.id}  ? {error}")
    shown = [key for key, climbs in outcomes.items() if key not in untried and all(done.passed for done in climbs)]
    if json:
        as_json({key: {"rungs": _plain(done), "untried": untried.get(key)} for key, done in outcomes.items()})
    else:
        (out if len(shown) == len(outcomes) else err).print(f"{len(shown)} of {len(outcomes)} shown up to {rung}.")
    raise typer.Exit(0 if len(shown) == len(outcomes) else 1)


def _passed_over(known: "Catalogue[Backup]", asked: str, found: "list[Backup]") -> dict[str, str]:
    """Why backups that were asked for cannot be tried, a sentence by id: `latest` asks for all behind the one found."""
    from ops_workflows.repository.catalogue import unusable

    if asked == _ALL:
        return dict(known.damaged)
    # Ids sort by time.
    return {key: why for key, why in sorted(unusable(known).items()) if asked == "latest" and key > found[0].id}


def _climbs(ladder: "Ladder", backup: "Backup", rung: Rung) -> "Iterator[Climb]":
    with closing(ladder.climb(backup, rung)) as climbs:
        yield from climbs


def _line(done: "Climb") -> str:
    earlier = f" (shown {done.shown_at:%Y-%m-%d %H:%M} UTC, unchanged since)" if done.shown_at else ""
    return f"{'✓' if done.passed else '✗'} {done.rung:<12} {done.finding}{earlier}"


def _plain(climbs: "list[Climb]") -> list[dict[str, object]]:
    return [
        {
            "rung": done.rung,
            "passed": done.passed,
            "finding": done.finding,
            "evidence": done.evidence,
            "shown_at": done.shown_at,
        }
        for done in climbs
    ]


def drill(
    *,
    to: Annotated[
        str, typer.Option(help="random (between two canaries), latest, a time with its zone, an LSN, or name:POINT.")
    ] = "random",
    backup: Annotated[
        str,
        typer.Option(help="newest, oldest, random, rotate (these three in turn), or an id from `ops backups`."),
    ] = "rotate",
    system: System = None,
    report: Annotated[Path | None, typer.Option(help="Write the page with the evidence here, too.")] = None,
    source: From = None,
    json: Json = False,
) -> None:
    """Recover into a scratch server on a clock, ask it everything, and hold RTO and RPO against the objectives."""
    from ops_workflows.cli.render import as_json, facts, progress, span
    from ops_workflows.proof.drill import drill as carry_out
    from ops_workflows.proof.drill_choice import Wanted
    from ops_workflows.proof.drill_report import write_page
    from ops_workflows.repository.catalogue import open_repository

    settings = settings_at(source, system)
    with progress(quiet=json) as bars:
        done = carry_out(settings, Wanted(to, backup), bars)
    if report is not None:
        write_page(open_repository(settings, done.system), done, report)
    if json:
        as_json(done.model_dump(mode="json") | {"passed": done.passed})
    else:
        facts({"backup": done.backup_id, "moment": f"{done.moment}, {done.chosen}"})
        facts({phase: span(seconds) for phase, seconds in done.seconds.items()})
        marks = {True: "✓", False: "✗", None: "?"}
        facts({check.name: f"{marks[check.passed]} {check.finding}" for check in done.checks})
    raise typer.Exit(0 if done.passed else 1)


def canary() -> None:
    """Write a canary: a row by which a drill knows whether it came to the moment that it was asked for."""
    from ops_workflows.backup.canary import plant
    from ops_workflows.cli.render import facts

    planted = plant(Settings.read())
    facts({"canary": f"{planted.token}, committed before {planted.lsn} at {planted.after:%Y-%m-%d %H:%M:%S.%f} UTC"})
