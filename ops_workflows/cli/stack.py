"""`ops up | down | doctor | dev | demo`: the embedded stack."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops_workflows.cli.backups import Json
from ops_workflows.settings import Settings

if TYPE_CHECKING:
    from ops_workflows.local.stack import Service


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(up)
    app.command()(down)
    app.command()(doctor)
    app.command()(dev)
    app.command()(demo)


def up(*, fresh: Annotated[bool, typer.Option(help="Delete all its data first.")] = False) -> None:
    """Start the embedded stack in this folder: PostgreSQL with a standby, S3, Valkey, and Dagster's own PostgreSQL."""
    from ops_workflows.local.stack import up as start

    stack = start(Settings.read(), Path.cwd(), fresh=fresh, report=_say)
    _show(stack.services)
    _say(f"Settings are in {stack.env_file}: `ops …` and `dagster …` work in this folder. Next: ops migrate up")


def down() -> None:
    """Stop exactly what `ops up` started in this folder, and wait until it is gone."""
    from ops_workflows.local.dagster_processes import stop_all
    from ops_workflows.local.stack import down as stop

    stop_all(Path.cwd())
    stop(Path.cwd(), report=_say)


def doctor(*, json: Json = False) -> None:
    """Say what is missing on this machine, in the database and in the bucket, and what to do about it."""
    from ops_workflows.cli.render import as_json, out
    from ops_workflows.local.doctor import doctor as look

    findings = look(Settings.read())
    if json:
        as_json([vars(finding) for finding in findings])
    else:
        signs = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "error": "[red]✗[/]"}
        for finding in findings:
            out.print(signs[finding.state], finding.name, style="bold", end=" ", highlight=False)
            out.print(finding.what, markup=False, highlight=False, soft_wrap=True)
            if finding.do:
                out.print("    to do:", finding.do, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1 if any(finding.state == "error" for finding in findings) else 0)


def dev(
    *,
    rate: Annotated[float, typer.Option(help="Statements of traffic per second; 0 for none.")] = 20,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Of the Dagster UI; another is taken if it is in use.")
    ] = 3000,
) -> None:
    """Run the stack, traffic, Dagster's webserver and its daemon until Ctrl-C; a stack that ran before runs on."""
    from ops_workflows.local.dev import dev as run

    run(Path.cwd(), rate=rate, port=port, report=_say)


def demo(
    *,
    rows: Annotated[int, typer.Option(min=1, help="Rows of query_log to load.")] = 200_000,
    keep: Annotated[bool, typer.Option(help="Leave the stack running.")] = False,
) -> None:
    """Show it all once: stack, data, nightly backup, restore drill, a rehearsed migration, and what was measured."""
    from ops_workflows.cli.render import facts, size, span, when
    from ops_workflows.local.demo import demo as run

    shown = run(Path.cwd(), rows=rows, keep=keep, report=_say)
    backup, wal = shown.backup, shown.wal
    facts(
        {
            "backup": f"{backup.id}, PostgreSQL {backup.major}, {backup.start_lsn} to {backup.stop_lsn}",
            "bytes": f"{backup.database_bytes:,} of the database, {backup.stored_bytes:,} stored ({backup.stored_as})",
            "speed": f"{size(backup.bytes_per_second)}/s: {span(backup.seconds)}",
        }
        | {what: f"{'✓' if proof.passed else '✗'} {proof.finding}" for what, proof in shown.proofs.items()}
        | {
            "window": f"any moment from {when(wal.window[0])} to {when(wal.window[1])} UTC" if wal.window else "none",
            "lag": f"{size(wal.lag_bytes or 0)}, {span(wal.lag_seconds or 0)} behind the server",
        }
        | {
            f"migrate: {step['name']}": f"{step['said']}"
            for step in (shown.gate.steps if shown.gate else ())
            if step["name"] in {"rehearsal", "apply", "catalogue"}
        }
    )
    if keep:
        _say("The stack is running. The UI and the daemon: . .venv/bin/activate && dagster dev. Its end: make down")


def _show(services: "tuple[Service, ...]") -> None:
    from ops_workflows.cli.render import table

    rows = [(service.name, service.address, "up" if service.pids else "down") for service in services]
    table(("service", "address", "state"), rows)


def _say(sentence: str) -> None:
    print(sentence, flush=True)
