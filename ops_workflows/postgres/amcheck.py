"""`pg_amcheck` over every database of a server.

https://www.postgresql.org/docs/current/app-pgamcheck.html
"""

from ops_workflows.postgres.programs import run
from ops_workflows.postgres.server import Server

_JOBS = 2
_CHECKS_UNIQUE_SINCE = 17


def amcheck(server: Server, superuser: str, timeout: float) -> None:
    """Check every table and B-tree: pages, tuples, out-of-line values, order, and that each row is in each index.

    The extension amcheck is installed where it is missing, so this is for servers that nobody keeps.

    Args:
        server: A primary.
        superuser: Whom to connect as.
        timeout: Seconds after which it is given up.

    Raises:
        DatabaseError: Something was found, and the text names it; or it could not be carried out in time.
    """
    options = ["--all", "--install-missing", "--heapallindexed", "--parent-check", f"--jobs={_JOBS}", "--no-password"]
    if server.programs.major >= _CHECKS_UNIQUE_SINCE:
        options.append("--checkunique")
    # All of it but the database's name holds for the other databases, too.
    where = f"--maintenance-db={server.dsn('postgres', superuser)}"
    run(server.programs.path("pg_amcheck"), *options, where, timeout=timeout, account=server.account)
