"""From what was watched to what is kept of it."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from ops_workflows.repository.rehearsals import FileTold, LockTold, StatementTold
from ops_workflows.schema.apply import Applied
from ops_workflows.schema.watch import Watched

_MOST_CHARACTERS = 160  # of a statement


def tell(watched: Sequence[Watched], applied: Sequence[Applied]) -> Iterator[FileTold]:
    """What each file did, in order, one that failed at its end included.

    Args:
        watched: Its statements.
        applied: The files that were applied; what took longer than their statements was their commit.
    """
    took = {each.file: each for each in applied}
    for source, group in groupby(watched, key=lambda each: each.source):
        statements = list(group)
        done = took.get(source.path.name)
        yield FileTold(
            file=source.path.name,
            direction="down" if ".down." in source.path.name else "up",
            sha256=source.sha256,
            seconds=done.seconds if done else sum(each.seconds for each in statements),
            statements=tuple(_statement(each) for each in statements),
        )


def _statement(each: Watched) -> StatementTold:
    return StatementTold(
        line=each.source.line(each.statement.start),
        text=each.source.outline(each.statement, _MOST_CHARACTERS),
        seconds=each.seconds,
        waited_seconds=each.waited,
        locks=tuple(LockTold(table=lock.table, mode=lock.mode, seconds=lock.seconds) for lock in each.locks),
        waits=dict(each.waits),
        rewritten=each.rewritten,
        grown_bytes=each.grown,
        rows=each.rows,
    )
