from pathlib import Path

import pytest

from ops_workflows.errors import RefusedError
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.layout import Layout
from ops_workflows.restore.moment import BackupEnd, Latest
from ops_workflows.restore.route import find_route
from ops_workflows.storage.folder import FolderStore


def test_an_empty_id_is_not_the_newest_backup(tmp_path: Path) -> None:
    repository = Repository(FolderStore(tmp_path), Layout("", "77"))
    for moment in (Latest(), BackupEnd()):
        with pytest.raises(RefusedError, match="'' is no backup id"):
            find_route(repository, moment, "")
