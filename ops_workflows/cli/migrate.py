"""`ops migrate up | down | goto | rehearse | history`: what goes through the gate, and what came of it."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops_workflows.cli.backups import Json
from ops_workflows.settings import Settings
from ops_workflows.wording import counted

if TYPE_CHECKING:
    from ops_workflows.repository.rehearsals import RehearsalRecord, StatementTold
    from ops_workflows.schema.apply import Applied, Hearers
    from ops_workflows.schema.gate_record import GateStep
    from ops_workflows.schema.plan import Aim

_Approve = Annotated[
    str,
    typer.Option(
        metavar="PLAN",
        help="Approve of what this plan destroys: its digest, as the refusal (for `up`, `ops migrate plan`) has it.",
    ),
]
_Ungated = Annotated[
    str,
    typer.Option(
        metavar="REASON", help="Leave out lint, backup, rehearsal and what is compared with it; the reason is kept."
    ),
]
Version = Annotated[int, typer.Argument(help="The number that its file begins with; -1 for none.")]

# -1 is a version, and no option. Another unknown option is then no number, or one argument too many: still an error.
NEGATIVE_IS_A_NUMBER = {"ignore_unknown_options": True}


def register(migrate: typer.Typer) -> None:
    """Add this module's commands to `ops migrate`."""
    for command in (up, down, rehearse, history):
        migrate.command()(command)
    migrate.command(name="goto", context_settings=NEGATIVE_IS_A_NUMBER)(go_to)


def up(
    *,
    limit: Annotated[int | None, typer.Option(help="Apply at most so many. Default: all.")] = None,
    approve: _Approve = "",
    ungated: _Ungated = "",
) -> None:
    """Apply pending migrations, this project's own first, if every step of the gate is passed.

    The steps: order, lint, a proved backup, a rehearsal on a copy of it, approval of what is destroyed, apply, compare
    the catalogue with the rehearsed one, the application's smoke queries.
    """
    from ops_workflows.schema.plan import upward

    applied = _pass(upward(limit), approve, ungated)
    print(f"{len(applied)} applied." if applied else "Nothing is pending.")


def down(
    *,
    steps: Annotated[int, typer.Argument(help="How many migrations to take back.", min=1)],
    approve: _Approve = "",
    ungated: _Ungated = "",
) -> None:
    """Take back the application's newest migrations, exactly so many, through the same gate."""
    from ops_workflows.schema.plan import back

    _pass(back(steps), approve, ungated)


def go_to(version: Version, *, approve: _Approve = "", ungated: _Ungated = "") -> None:
    """Bring the application's schema to a version, up or down, through the same gate."""
    from ops_workflows.schema.plan import toward

    steps = _pass(toward(version), approve, ungated)
    print(f"{counted(len(steps), 'step')} taken." if steps else f"It is at version {version}.")


def rehearse(
    *,
    limit: Annotated[int | None, typer.Option(help="Rehearse at most so many. Default: all that are pending.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the record to this file, too, as JSON.")] = None,
    json: Json = False,
) -> None:
    """Apply what is pending to a copy of the database, under traffic, and back; exit code 1 if it is red.

    The copy is the newest proved backup, brought up to now. Production is not touched.
    """
    from ops_workflows.cli.render import progress
    from ops_workflows.schema.plan import upward
    from ops_workflows.schema.rehearse import rehearse as try_it

    with progress(quiet=json) as heard:
        record = try_it(Settings.read(), upward(limit), heard)
    if report is not None:
        report.write_text(record.model_dump_json(indent=2))
    if json:
        print(record.model_dump_json(indent=2))
    else:
        _show(record)
    raise typer.Exit(0 if record.passed else 1)


def history(*, json: Json = False) -> None:
    """What was done to the application's schema, newest last, and what came of the last time at the gate."""
    from ops_workflows.cli.render import as_json, table
    from ops_workflows.schema.apply import remembered

    entries, gate = remembered(Settings.read().require("owner_dsn"))
    if json:
        as_json({"history": [asdict(each) for each in entries], "gate": asdict(gate) if gate else None})
        return
    table(
        ("when", "version", "what", "result", "seconds", "by", "back to just before: ops restore --to"),
        [
            (
                f"{each.started_at:%Y-%m-%d %H:%M:%S}",
                str(each.version),
                f"{each.direction} {each.name}",
                each.result,
                f"{each.seconds:.2f}" if each.seconds is not None else "",
                each.who,
                f"{each.restore_lsn or ''}",
            )
            for each in entries
        ],
    )
    if gate is not None:
        outcome = {True: "passed", False: "was not passed", None: "is under way, or was killed"}[gate.passed]
        plan = f"plan {gate.plan}" if gate.plan else "without a plan"
        print(f"\nThe last time at the gate, {gate.started_at:%Y-%m-%d %H:%M:%S}, {plan}, {outcome}:")
        table(("step", "outcome", ""), [(str(s["name"]), str(s["outcome"]), str(s["said"])) for s in gate.steps])


def _pass(aim: "Aim", approve: str, ungated: str) -> "tuple[Applied, ...]":
    from ops_workflows.cli.render import progress
    from ops_workflows.schema.gate import Demand, pass_gate

    with progress(quiet=False) as bars:
        passed = pass_gate(
            Settings.read(),
            aim,
            Demand(approve.strip(), ungated.strip()),
            heard=_say_step,
            hearers=_hearers(),
            progress=bars,
        )
    return passed.applied


def _show(record: "RehearsalRecord") -> None:
    from ops_workflows.cli.render import out, table

    table(
        ("file", "line", "statement", "seconds", "rows", "bytes", "locks that keep others out", "waited behind it"),
        [
            (
                file.file,
                str(each.line),
                each.text[:60],
                f"{each.seconds:.3f}",
                f"{each.rows:,}",
                f"{each.grown_bytes:+,}" + (f", {len(each.rewritten)} rewritten" if each.rewritten else ""),
                _locks(each),
                "; ".join(f"{name} {seconds:.2f} s" for name, seconds in each.waits.items()),
            )
            for file in record.files
            for each in file.statements
        ],
    )
    marks = {True: "[green]✓[/]", False: "[red]✗[/]", None: " "}
    for check in record.checks:
        out.print(f"{marks[check.passed]} {check.name}:", end=" ")
        out.print(check.finding, markup=False, highlight=False, soft_wrap=True)
    print(f"Rehearsal {record.id} on backup {record.backup_id}, as of {record.moment}: plan {record.plan}.")


def _locks(each: "StatementTold") -> str:
    lock = each.keeps_out
    if lock is None:
        return ""
    others = f" and {each.locked_out - 1} more" if each.locked_out > 1 else ""
    return f"{lock.mode} on {lock.table}{others}, {lock.seconds:.2f} s"


def _say_step(step: "GateStep") -> None:
    from ops_workflows.cli.render import err
    from ops_workflows.schema.gate_record import Outcome

    if step.outcome is Outcome.FAILED:
        err.print(f"{step.outcome:>10}  {step.name}", markup=False, highlight=False)  # why is said at the end
        return
    err.print(f"{step.outcome:>10}  {step.name}: {step.said}", markup=False, highlight=False, soft_wrap=True)


def _hearers() -> "Hearers":
    from ops_workflows.cli.render import err
    from ops_workflows.schema.apply import Hearers

    return Hearers(_say, lambda sentence: err.print(sentence, markup=False, highlight=False, soft_wrap=True))


def _say(applied: "Applied") -> None:
    waited = f", {applied.waited:.1f} s of them for locks" if applied.waited else ""
    print(f"{applied.ledger} {applied.direction} {applied.version} {applied.name} ({applied.seconds:.2f} s{waited})")
    for warning in applied.warnings:
        print(f"  PostgreSQL warned: {warning}")
