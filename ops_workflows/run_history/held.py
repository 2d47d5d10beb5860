"""Which backups and dumps the repositories hold anything of, the second one too; seen from names alone."""

from ops_workflows.errors import OpsError
from ops_workflows.repository.layout import Layout, systems
from ops_workflows.run_history.plan import Held
from ops_workflows.settings import Settings
from ops_workflows.storage.store import open_store


def held_backups(settings: Settings) -> Held:
    """Look, and say what could not be seen; a damaged or unfinished backup is held as well as any."""
    ids: dict[str, set[str]] = {}
    try:
        for place in (settings, settings.mirrored()):
            if place is not None:
                _add(place, ids)
    except OpsError as error:
        return Held(ids, str(error))
    return Held(ids)


def _add(settings: Settings, ids: dict[str, set[str]]) -> None:
    store, prefix = open_store(settings), settings.repository_prefix
    for system in filter(str.isdecimal, store.folders(systems(prefix))):
        layout = Layout(prefix, system)
        ids.setdefault(system, set()).update(store.folders(layout.backups), store.folders(layout.dumps))
