"""Recording what is true of a version that another program left dirty, where the catalogue proves it."""

from collections.abc import Callable

from ops_workflows.schema.apply import FORCED, alone, status
from ops_workflows.schema.files import read_migrations
from ops_workflows.schema.foreign import truth
from ops_workflows.schema.history import History
from ops_workflows.schema.resume import ForeignDirtyError, find_rest
from ops_workflows.settings import Settings

_PROVEN = "proven from the catalogue, after another program had left it dirty"


def settle_foreign(settings: Settings, say: Callable[[str], None]) -> None:
    """Record where the schema stands, if golang-migrate has left it dirty and the catalogue tells.

    Where it does not tell, nothing is changed, and whoever migrates next is refused.

    Args:
        settings: The database and its migrations; a server of our own for comparison.
        say: Hears what was recorded, and why.

    Raises:
        ConfigurationError: A file cannot be read, or there are no programs of the server's major version.
        RefusedError: The files cannot be run in a server of our own, or another migration is running.
        DatabaseError: PostgreSQL is unreachable or refuses us.
    """
    dsn, migrations = settings.require("owner_dsn"), read_migrations(settings.migrations_dir)
    if not status(dsn, settings.migrations_dir).application.position.dirty:
        return
    with alone(dsn) as (connection, ledger):
        position, history = ledger.position(connection), History(ledger.schema)
        proven = None
        try:
            find_rest(connection, position, migrations, history)
        except ForeignDirtyError:
            proven = truth(settings, dsn, migrations, position)
            if proven is None:
                say("The schema is dirty, and the catalogue does not tell which version is true.")
        if proven is not None:
            with connection.transaction():
                ledger.record(connection, proven)
                history.add(connection, proven.version, FORCED, said=_PROVEN)
            say(
                f"Another program left the schema dirty at version {position.version}. Its catalogue is that of "
                f"version {proven.version}, which is recorded now."
            )
