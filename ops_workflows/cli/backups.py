"""`ops backup | backups | restore`."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops_workflows.backup.policy import Kind
from ops_workflows.errors import ConfigurationError
from ops_workflows.settings import Settings

if TYPE_CHECKING:
    from ops_workflows.repository.catalogue import Repository

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


def settings_at(source: str | None, system: str | None = None) -> Settings:
    """The settings, with the repository that `--from` names and the cluster that `--system` names.

    Raises:
        RefusedError: The repository knows no such cluster.
    """
    settings = Settings.read()
    if source is not None:
        settings = settings.at(source)
    if system is not None:
        from ops_workflows.repository.catalogue import require_system

        require_system(settings, system)
        settings = settings.model_copy(update={"system": system})
    return settings


def backups(*, source: From = None, system: System = None, json: Json = False) -> None:
    """List the backups, read from the bucket alone, with the highest rung shown of each and how long ago.

    Exit code 1 if there is one whose record cannot be read.
    """
    from ops_workflows.cli.render import as_json, size, span, table, when
    from ops_workflows.repository.backup import utc_now
    from ops_workflows.repository.catalogue import open_repository, unusable
    from ops_workflows.repository.proofs import read_ledger
    from ops_workflows.repository.standing import standing

    settings = settings_at(source, system)
    repository = open_repository(settings)
    known = repository.catalogue()
    found, lost = known.readable, unusable(known)
    ledger, now = read_ledger(repository, (backup.id for backup in found)), utc_now()
    shown = ledger.newest
    stands = {backup.id: standing(shown[backup.id], now, settings.proof_days) for backup in found}
    if json:
        as_json(
            [
                backup.model_dump(mode="json")
                | {"proofs": list(shown[backup.id].values()), "rungs": stands[backup.id].states}
                | {"unusable": lost.get(backup.id)}
                for backup in found
            ]
            + [{"id": each, "unusable": why} for each, why in known.damaged.items()]
        )
        raise typer.Exit(1 if known.damaged else 0)
    table(
        ("backup", "builds on", "finished (UTC)", "took", "database", "stored", "shown", "age"),
        [
            (
                backup.id,
                backup.parent or "",
                when(backup.finished_at),
                span(backup.seconds),
                size(backup.database_bytes),
                size(backup.stored_bytes),
                stands[backup.id].said if backup.id not in lost else "cannot be used",
                stands[backup.id].age if backup.id not in lost else "",
            )
            for backup in found
        ]
        + [(each, "", "", "", "", "", "damaged", "") for each in known.damaged],
        right=("took", "database", "stored"),
    )
    say([*lost.values(), *ledger.passed_over])
    raise typer.Exit(1 if known.damaged else 0)


def say(sentences: Iterable[str]) -> None:
    """Print sentences on standard error, a line each."""
    from ops_workflows.cli.render import err

    for sentence in sentences:
        err.print(sentence, highlight=False, soft_wrap=True)


def restore(
    *,
    target_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="The new data directory: empty, or not there yet.")
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
    timeline: Annotated[
        int | None,
        typer.Option(help="End on this timeline. Default: the one that the server was on at the moment, or is on now."),
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
    from ops_workflows.cli.in_place import replace as replace_in_place
    from ops_workflows.cli.render import as_json, err, facts, progress, span
    from ops_workflows.repository.catalogue import open_repository
    from ops_workflows.restore import run
    from ops_workflows.restore.moment import BackupEnd, Latest, parse_moment
    from ops_workflows.restore.route import find_route

    _require_words({"--target-dir": target_dir, "--to": to, "--backup": backup, "--from": source, "--system": system})
    settings = settings_at(source)
    if in_place:
        _say_what_is_passed_over(open_repository(settings, system), backup)
        if timeline is not None:
            raise ConfigurationError("--timeline is for a restore beside the database: omit --in-place.")
        replace_in_place(settings, to or "latest", backup, confirm, system)
        return
    target = _target(target_dir)
    moment = parse_moment(to) if to else Latest() if backup is None and start else BackupEnd()
    if not start and not isinstance(moment, BackupEnd):
        raise ConfigurationError("--no-start restores a backup's own files; to recover --to a moment it has to start.")
    repository = open_repository(settings, system)
    _say_what_is_passed_over(repository, backup)
    route, listing = find_route(repository, moment, backup, timeline=timeline)
    plan = run.plan(route, target, _mapping(tablespace or []), repository.chain(route.backup))
    plan = replace(plan, starts=start)
    if not json:
        err.print("\n".join(plan.describe()), highlight=False, soft_wrap=True)
    reached, beside = "", None
    keep = keep_running or stay
    with progress(quiet=json) as bars:
        if start:
            with run.recovered(settings, repository, plan, listing, bars, keep=keep, stay=stay) as (restored, server):
                reached, beside = server.dsn("postgres", restored.backup.superuser), server.log_file.parent
        else:
            restored = run.restore(settings, repository, plan, bars)
    if json:
        as_json(
            {
                "backup_id": restored.backup.id,
                "moment": str(route.moment),
                "timeline": route.reach.timeline,
                "directory": restored.directory,
                "seconds": restored.seconds,
            }
            | ({"dsn": reached} if keep else {})
        )
        return
    facts({name: span(seconds) for name, seconds in restored.seconds.items()})
    if keep:
        facts({"running": f'psql "{reached}"'})
    if beside:
        use = "which it needs while it runs" if keep else "which you may remove"
        facts({"beside it": f"{beside}, with the log and the settings of its server, {use}."})
    facts({"restored": f"{restored.directory}, verified{' and started' if start else ', not started yet'}."})


def _target(given: str | None) -> Path:
    if given is None:
        raise ConfigurationError("Say where to restore to, --target-dir DIR, or --in-place.")
    target = Path(given).absolute()
    if target == target.parent:
        raise ConfigurationError(f"--target-dir {given} has no name, and no room beside it: name a folder in it.")
    return target


def _say_what_is_passed_over(repository: "Repository", backup: str | None) -> None:
    """Say which backups cannot be used, where the choice is left to us."""
    from ops_workflows.repository.catalogue import unusable

    if backup in {None, "latest"}:
        say(unusable(repository.catalogue()).values())


def _require_words(given: dict[str, str | None]) -> None:
    """Refuse options that are there and empty, as `--backup "$ID"` is where ID was never set."""
    for option, value in given.items():
        if value == "":
            raise ConfigurationError(f"{option} is empty: give it a value (is a variable not set?), or leave it out.")


def _mapping(given: list[str]) -> dict[int, Path]:
    mapping = {}
    for entry in given:
        oid, equals, folder = entry.partition("=")
        if not equals or not oid.isdecimal() or not folder:
            raise ConfigurationError(f"--tablespace {entry} cannot be read: write OID=DIR, such as 16385=/srv/fast.")
        mapping[int(oid)] = Path(folder)
    return mapping
