"""A drill's page: kept in the bucket with its record, and written to a file for whoever asks."""

from pathlib import Path

from ops_workflows.errors import ConfigurationError
from ops_workflows.proof.report import report
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.drills import DrillRecord, drills


def page(repository: Repository, done: DrillRecord) -> str:
    """The page of a drill, with the drills before it.

    Raises:
        StorageError: The bucket did not answer.
    """
    return report(done, [each for each in drills(repository) if each.id < done.id])


def write_page(repository: Repository, done: DrillRecord, file: Path) -> None:
    """Write the page of a drill to a file.

    Raises:
        ConfigurationError: It cannot be written.
        StorageError: The bucket did not answer.
    """
    try:
        file.write_text(page(repository, done), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}. Name another file.") from error
