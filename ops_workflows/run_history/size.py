"""How much Dagster remembers, and how many bytes that takes."""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, text

from ops_workflows.run_history.memory import Memory


@dataclass(frozen=True, slots=True)
class Size:
    """Of Dagster's memory.

    Attributes:
        total_bytes: Of its databases, indexes included, or of its files.
        runs: How many there are.
        events: Of them all; where each run has a file, those that are kept of it in the common one besides.
        runless_events: Those among them that belong to no run.
        check_evaluations: Of assets' checks.
        ticks: Of schedules and sensors.
    """

    total_bytes: int
    runs: int
    events: int
    runless_events: int
    check_evaluations: int
    ticks: int


def measure(memory: Memory) -> Size:
    """Count and weigh it."""
    counted, weighed = dict[str, int](), dict[str, int]()

    def look(connected: AbstractContextManager[Connection], **queries: str) -> None:
        with connected as connection:
            for name, query in queries.items():
                counted[name] = int(connection.execute(text(query)).scalar_one())
            weighed.update(_weigh[connection.dialect.name](connection))

    look(memory.runs(), runs="SELECT count(*) FROM runs")
    look(
        memory.events(),
        events="SELECT count(*) FROM event_logs",
        runless_events="SELECT count(*) FROM event_logs WHERE run_id = ''",
        check_evaluations="SELECT count(*) FROM asset_check_executions",
    )
    if (ticks := memory.ticks()) is not None:
        look(ticks, ticks="SELECT count(*) FROM job_ticks")
    return Size(total_bytes=sum(weighed.values()), **({"ticks": 0} | counted))


def _of_server(connection: Connection) -> dict[str, int]:
    """All three may be one database, which counts once."""
    found = connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
    return {str(connection.engine.url): int(found)}


def _of_files(connection: Connection) -> dict[str, int]:
    """The file with what is beside it, and of events the files of all runs; what is in memory by its pages."""
    where = Path(connection.engine.url.database or "")
    if not where.is_file():
        pages, each = (connection.execute(text(f"PRAGMA page_{what}")).scalar_one() for what in ("count", "size"))
        return {str(connection.engine.url): int(pages) * int(each)}
    sizes = dict[str, int]()
    for path in where.parent.iterdir() if where.name == "index.db" else where.parent.glob(f"{where.name}*"):
        with suppress(FileNotFoundError):  # what is beside it comes and goes
            sizes[str(path)] = path.stat().st_size
    return sizes


_weigh: dict[str, Callable[[Connection], dict[str, int]]] = {"postgresql": _of_server, "sqlite": _of_files}
