from pathlib import Path

from ops_workflows.errors import ConfigurationError
from ops_workflows.postgres.account import Account
from ops_workflows.restore.tablespaces import stopped_at

DATA = Path("/srv/db")
BEFORE = "2026-01-31 02:00:00.000 UTC [7] FATAL:  the database system is not yet accepting connections\n"
LACKING = (
    '2026-01-31 02:00:00.000 UTC [8] FATAL:  directory "/srv/fast disk" does not exist\n'
    "2026-01-31 02:00:00.000 UTC [8] HINT:  Create this directory for the tablespace before restarting the server.\n"
    '2026-01-31 02:00:00.000 UTC [8] CONTEXT:  WAL redo at 0/3002318 for Tablespace/CREATE: 16396 "/srv/fast disk"\n'
)
FOREIGN = (
    '2026-01-31 02:00:00.000 UTC [8] FATAL:  could not set permissions on directory "/srv/x": Operation not permitted\n'
    '2026-01-31 02:00:00.000 UTC [8] CONTEXT:  WAL redo at 0/3002318 for Tablespace/CREATE: 16396 "/srv/x"\n'
)
AFTER = "2026-01-31 02:00:00.001 UTC [6] LOG:  startup process (PID 8) exited with exit code 1\n"


def said(log: str, account: Account | None = None) -> str:
    found = stopped_at(log, DATA, account)
    assert isinstance(found, ConfigurationError)
    return str(found)


def test_the_folder_that_is_lacking_is_named_and_whose_it_has_to_be() -> None:
    assert said(BEFORE + LACKING + AFTER, Account("nobody", 65534, 65534)) == (
        "Recovery over /srv/db stopped where its log makes a tablespace in /srv/fast disk "
        '(directory "/srv/fast disk" does not exist): make that folder on this machine, empty and owned by nobody, and '
        "do this again."
    )


def test_the_folder_that_is_somebody_elses() -> None:
    assert "in /srv/x (could not set permissions on" in said(FOREIGN + AFTER)
    assert "owned by us" in said(FOREIGN + AFTER)


def test_what_stops_for_another_reason_is_none_of_it() -> None:
    other = "2026-01-31 02:00:00.000 UTC [8] FATAL:  could not locate a valid checkpoint record\n"
    context = LACKING.splitlines(keepends=True)[2]
    for log in ("", BEFORE + AFTER, other + AFTER, other + AFTER + context):
        assert stopped_at(log, DATA, None) is None
