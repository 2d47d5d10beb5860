"""`exact`: recovered to a moment between two canaries, the one before is there and the one after is not."""

from random import Random, SystemRandom

from ops_workflows.errors import DatabaseError, IntegrityError, RefusedError
from ops_workflows.progress import SILENT, Progress
from ops_workflows.proof.contents import roll_back_prepared
from ops_workflows.proof.rungs import Climb
from ops_workflows.proof.witness import random_moment, testimony, witnesses
from ops_workflows.repository.backup import Backup
from ops_workflows.repository.canaries import along, canaries, intervals
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.reach import Histories, furthest
from ops_workflows.repository.rungs import Rung
from ops_workflows.repository.wal import WalListing
from ops_workflows.restore import run
from ops_workflows.restore.choose import Route
from ops_workflows.restore.moment import AtTime
from ops_workflows.restore.scratch import scratch
from ops_workflows.settings import Settings

_MOST_FAULTS = 5  # that a finding names


def exact(
    settings: Settings,
    repository: Repository,
    backup: Backup,
    log: tuple[WalListing, Histories],
    progress: Progress = SILENT,
    *,
    chance: Random | None = None,
) -> Climb:
    """Recover a backup to a random moment that canaries surround, and ask for them.

    Raises:
        RefusedError: No two canaries lie behind the backup, or there is no room, so nothing is known.
        ConfigurationError: This machine cannot run such a server, so nothing is known.
        StorageError: The bucket did not answer, so nothing is known.
    """
    listing, histories = log
    reach = furthest(backup, listing, histories)
    passed = along(canaries(repository), reach)
    between = intervals(passed, backup.finished_at)
    if not between:
        raise RefusedError(
            f"Backup {backup.id} cannot be shown to be exact: no two canaries lie behind it in the log. Dagster's "
            "sensor `canaries` plants them, or `ops canary`."
        )
    moment = random_moment(between, chance or SystemRandom())
    asked = witnesses(passed, moment, backup)
    route = Route(AtTime(moment), reach)
    figures: dict[str, float | int | str] = {"moment": moment.isoformat(), "wal_bytes": route.wal_bytes}
    figures |= {"canaries_before": len(asked.before), "canaries_after": len(asked.after)}
    try:
        with scratch(settings, backup.major, progress) as folder:
            plan = run.plan(route, folder / "data", chain=repository.chain(backup))
            with run.recovered(settings, repository, plan, listing, progress) as (restored, server):
                roll_back_prepared(server, backup.superuser)
                faults = testimony(server, backup.superuser, asked)
            figures |= {f"seconds: {phase}": round(seconds, 3) for phase, seconds in restored.seconds.items()}
    except (IntegrityError, DatabaseError) as error:
        return Climb(Rung.EXACT, False, str(error), figures)
    if faults:
        return Climb(Rung.EXACT, False, f"At {moment.isoformat()}: {'; '.join(faults[:_MOST_FAULTS])}.", figures)
    finding = (
        f"At {moment:%Y-%m-%d %H:%M:%S.%f} UTC {asked.before[-1].sender} is there, and {asked.after[0].sender} is not."
    )
    return Climb(Rung.EXACT, True, finding, figures)
