"""`ops backup | backups | restore | drill`."""

from pathlib import Path
from typing import Annotated

import typer

from ops_workflows.backup.policy import Kind
from ops_workflows.errors import ConfigurationError
from ops_workflows.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
System = Annotated[
    str | None, typer.Option(help="System identifier of the cluster, where the bucket holds backups of several.")
]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="URL", help="Another repository: file:///FOLDER or s3://BUCKET/PREFIX."),
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(backup)
    app.command()(backups)
    app.command()(restore)
    app.command()(drill)


def backup(
    *,
    kind: Annotated[
        Kind, typer.Option(help="auto: as the nightly does; incremental becomes full where it cannot be, and says why.")
    ] = Kind.FULL,
    json: Json = False,
) -> None:
    """Take a base backup into the bucket."""
    from ops_workflows.backup.take import take_backup
    from ops_workflows.cli.render import as_json, facts, progress, size, span

    with progress(quiet=json) as bars:
        taken = take_backup(Settings.read(), bars, kind)
    if json:
        as_json(taken)
        return
    facts(
        {
            "backup": taken.id + (f", incremental to {taken.parent}" if taken.parent else ", full"),
            "database": size(taken.database_bytes),
            "stored": f"{size(taken.stored_bytes)} ({taken.stored_as})",
            "took": f"{span(taken.seconds)}, {size(taken.bytes_per_second)}/s",
            "WAL": f"{taken.start_lsn} to {taken.stop_lsn}, timeline {taken.timeline}",
        }
    )


def settings_at(source: str | None) -> Settings:
    """The settings, with the repository that `--from` names."""
    settings = Settings.read()
    return settings.at(source) if source else settings


def backups(*, source: From = None, system: System = None, json: Json = False) -> None:
    """List the backups, read from the bucket alone."""
    from ops_workflows.cli.render import as_json, size, span, table, when
    from ops_workflows.repository.catalogue import open_repository
    from ops_workflows.repository.proofs import latest, proofs

    repository = open_repository(settings_at(source), system)
    found = [(backup, latest(proofs(repository, backup.id))) for backup in repository.backups()]
    if json:
        as_json([backup.model_dump(mode="json") | {"proofs": list(shown.values())} for backup, shown in found])
        return
    table(
        ("backup", "builds on", "finished (UTC)", "took", "database", "stored", "shown"),
        [
            (
                backup.id,
                backup.parent or "",
                when(backup.finished_at),
                span(backup.seconds),
                size(backup.database_bytes),
                size(backup.stored_bytes),
                ", ".join(f"{what} {'✓' if proof.passed else '✗'}" for what, proof in shown.items()) or "not run",
            )
            for backup, shown in found
        ],
        right=("took", "database", "stored"),
    )


def restore(
    *,
    target_dir: Annotated[
        Path | None, typer.Option(help="The new data directory: empty, or not there yet.", show_default=False)
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Replace OPS_PRIMARY_DATA_DIR, which is moved aside and kept.")
    ] = False,
    confirm: Annotated[
        str | None, typer.Option(help="With --in-place: the database's name. Default: it is asked for.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            help="Where to: latest, a time with its zone, an LSN, or name:RESTORE_POINT. "
            "Default: latest, or the end of the backup that --backup names."
        ),
    ] = None,
    backup: Annotated[
        str | None,
        typer.Option(help="Begin with this backup, an id from `ops backups` or `latest`. Default: the best."),
    ] = None,
    tablespace: Annotated[
        list[str] | None, typer.Option(metavar="OID=DIR", help="Where a tablespace goes. Default: TARGET.tablespaces.")
    ] = None,
    start: Annotated[
        bool, typer.Option(help="Recover now, on a private socket. Without, only a backup's own files are restored.")
    ] = True,
    stay: Annotated[
        bool, typer.Option(help="Pause at the moment, readable, and do not promote; keeps it running.")
    ] = False,
    keep_running: Annotated[bool, typer.Option(help="Leave it running on that socket.")] = False,
    source: From = None,
    system: System = None,
    json: Json = False,
) -> None:
    """Restore the database into an empty folder, as it was at a moment, and see that it answers."""
    from ops_workflows.cli.in_place import replace
    from ops_workflows.cli.render import as_json, err, facts, progress, span
    from ops_workflows.repository.catalogue import open_repository
    from ops_workflows.restore import run
    from ops_workflows.restore.moment import BackupEnd, Latest, parse_moment
    from ops_workflows.restore.route import find_route

    settings = settings_at(source)
    if in_place:
        replace(settings, to or "latest", backup, confirm, system)
        return
    if target_dir is None:
        raise ConfigurationError("Say where to restore to, --target-dir DIR, or --in-place.")
    moment = parse_moment(to) if to else Latest() if backup is None and start else BackupEnd()
    if not start and not isinstance(moment, BackupEnd):
        raise ConfigurationError("--no-start restores a backup's own files; to recover --to a moment it has to start.")
    repository = open_repository(settings, system)
    route, listing = find_route(repository, moment, backup)
    plan = run.plan(route, target_dir, _mapping(tablespace or []), repository.chain(route.backup))
    if not json:
        err.print("\n".join(plan.describe()), highlight=False, soft_wrap=True)
    reached = ""
    keep = keep_running or stay
    with progress(quiet=json) as bars:
        if start:
            with run.recovered(settings, repository, plan, listing, bars, keep=keep, stay=stay) as (restored, server):
                reached = server.dsn("postgres", restored.backup.superuser)
        else:
            restored = run.restore(settings, repository, plan, bars)
    if json:
        as_json(
            {
                "backup_id": restored.backup.id,
                "moment": str(route.moment),
                "directory": restored.directory,
                "seconds": restored.seconds,
            }
            | ({"dsn": reached} if keep else {})
        )
        return
    facts({name: span(seconds) for name, seconds in restored.seconds.items()})
    if keep:
        facts({"running": f'psql "{reached}"'})
    facts({"restored": f"{restored.directory}, verified{' and started' if start else ', not started yet'}."})


def _mapping(given: list[str]) -> dict[int, Path]:
    mapping = {}
    for entry in given:
        oid, equals, folder = entry.partition("=")
        if not equals or not oid.isdecimal() or not folder:
            raise ConfigurationError(f"--tablespace {entry} cannot be read: write OID=DIR, such as 16385=/srv/fast.")
        mapping[int(oid)] = Path(folder)
    return mapping


def drill(
    *,
    backup: Annotated[str, typer.Option(help="A backup's id from `ops backups`, or `latest`.")] = "latest",
    source: From = None,
    json: Json = False,
) -> None:
    """Restore a backup into a scratch server on a clock: RTO and RPO, held against the objectives."""
    from ops_workflows.cli.render import as_json, facts, progress, span
    from ops_workflows.proof.drill import drill as carry_out

    settings = settings_at(source)
    with progress(quiet=json) as bars:
        done = carry_out(settings, backup, bars)
    held = done.objectives(settings)
    passed = all(objective.passed for objective in held.values())
    if json:
        as_json(done.figures() | {"passed": passed})
    else:
        facts({"backup": done.backup.id} | {phase: span(seconds) for phase, seconds in done.seconds.items()})
        facts({name.upper(): f"{'✓' if kept.passed else '✗'} {kept.finding}" for name, kept in held.items()})
    raise typer.Exit(0 if passed else 1)
