"""What is true of a version that another program left dirty, as far as the catalogue proves it.

golang-migrate records where a file leads to, marked dirty, and then sends the whole file as one transaction. So the
file was carried out or it was not, and which of them shows in the catalogue, if the file changes anything there. The
direction is not recorded: dirty at a version may mean that the way up to it was begun, or the way down to it.
"""

from collections.abc import Sequence
from pathlib import Path

from ops_workflows.schema.catalogue import differences
from ops_workflows.schema.files import Migration
from ops_workflows.schema.plan import NOTHING, Position
from ops_workflows.schema.reference import Catalogue, produced
from ops_workflows.schema.session import connected
from ops_workflows.schema.source import read_source
from ops_workflows.settings import Settings


def truth(settings: Settings, dsn: str, migrations: Sequence[Migration], position: Position) -> Position | None:
    """Where a schema stands that golang-migrate has left dirty.

    To be called behind the locks of migrations, so that nobody is still at it. That each file was one transaction is
    taken for granted: it is, unless golang-migrate was told to split files (x-multi-statement).

    Args:
        settings: For a server of our own, in which the files are run for comparison.
        dsn: Of the role that migrates.
        migrations: The application's, all of one folder.
        position: What is recorded.

    Returns:
        The version whose catalogue the database has, if it is one only of those that are possible. None where nothing
        is proved: a file may stop half way, changes nothing in the catalogue, or somebody else has changed something.

    Raises:
        ConfigurationError: A file cannot be read, or there are no programs of the server's major version.
        RefusedError: The files cannot be run in a server of our own.
        DatabaseError: PostgreSQL is unreachable or refuses us.
    """
    possible, begun = _possible(migrations, position)
    if not begun or not all(read_source(script).whole for script in begun):
        return None
    with connected(dsn) as connection:
        found = Catalogue.read(connection)
    expected = produced(settings, dsn, migrations, possible)
    same = [version for version in possible if not differences(expected[version], found.objects, found.partitions)]
    return Position(same[0]) if len(same) == 1 else None


def _possible(migrations: Sequence[Migration], position: Position) -> tuple[set[int], list[Path]]:
    """The versions that may be true, and the files one of which was begun; none where that is not known."""
    versions = [NOTHING, *(migration.version for migration in migrations)]
    if not position.dirty or position.version not in versions:
        return set(), []
    at = versions.index(position.version)
    true, begun = {position.version}, list[Path]()
    if at > 0:
        true.add(versions[at - 1])
        begun.append(migrations[at - 1].up)
    if at < len(migrations) and (down := migrations[at].down) is not None:
        true.add(versions[at + 1])
        begun.append(down)
    return true, begun
