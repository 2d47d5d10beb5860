"""The fault suite, its fast subset, in a bucket and in a folder: all is noticed, and nothing is left of it."""

import json
from pathlib import Path

import pytest

from ops_workflows.errors import RefusedError
from ops_workflows.faults.outcome import Outcome, Verdict
from ops_workflows.faults.proxy import Answer, failing, proxy
from ops_workflows.faults.suite import run_suite
from ops_workflows.settings import Settings
from ops_workflows.storage.s3 import open_store
from tests.support.command import ops_here


def left_in_bucket(settings: Settings) -> list[str]:
    store, prefix = open_store(settings), f"{settings.s3_prefix}-faults-"
    found = [each.key for each in store.objects(prefix)] + [each.key for each in store.versions(prefix)]
    return found + [each.key for each in store.pending_uploads(prefix)]


def test_the_fast_subset_is_noticed_and_leaves_nothing(settings: Settings, tmp_path: Path) -> None:
    own = settings.model_copy(update={"s3_prefix": "fast"})
    done = ops_here(own, tmp_path, "faults", "--fast", "--seed", "1", "--json")
    said = json.loads(done.out)
    assert [each for each in said["outcomes"] if each["verdict"] not in {"detected", "quiet"}] == []
    assert (done.code, said["seed"], said["detection_rate"], said["false_alarms"]) == (0, 1, 1.0, 0)
    assert left_in_bucket(own) == []
    assert [each for each in settings.scratch.iterdir() if each.is_dir()] == []


def test_what_a_database_or_a_role_wants_of_its_sessions_is_not_followed(settings: Settings) -> None:
    seen: list[Outcome] = []
    summary = run_suite(settings.model_copy(update={"s3_prefix": "own"}), 3, only="a role's own", report=seen.append)
    assert [each for each in seen if each.verdict is not Verdict.QUIET] == []
    assert summary.variations == 3


def test_in_a_folder_the_network_is_skipped(settings: Settings, tmp_path: Path) -> None:
    own = settings.model_copy(update={"repository_url": (tmp_path / "backups").as_uri()})
    seen: list[Outcome] = []
    summary = run_suite(own, 2, only="[aS][r3]*: a*", report=seen.append)
    assert [(each.kind, each.verdict) for each in seen] == [
        ("archive: a bit flipped", Verdict.DETECTED),
        ("S3: answers 500", Verdict.SKIPPED),
        ("S3: answers 503", Verdict.SKIPPED),
    ]
    assert summary.passed
    assert list(tmp_path.iterdir()) == []


def test_a_pattern_that_fits_nothing_is_refused(settings: Settings) -> None:
    with pytest.raises(RefusedError, match="No kind of fault fits 'nothing of this name'"):
        run_suite(settings, 1, only="nothing of this name")


def test_the_proxy_passes_on_what_it_does_not_spoil(settings: Settings) -> None:
    def spoil(question: str, answer: Answer) -> Answer:
        return failing(503, "SlowDown")(answer) if question.startswith("GET ") and "spoilt" in question else answer

    with proxy(settings.require("s3_endpoint_url"), spoil) as url:
        store = open_store(settings.model_copy(update={"s3_endpoint_url": url, "s3_prefix": "through"}))
        store.put("through/a key, with ümlaut", b"content", metadata={"name": "value"})
        found = store.head("through/a key, with ümlaut")
        assert found is not None
        assert (found.size, found.metadata) == (7, {"name": "value"})
        assert store.get("through/a key, with ümlaut") == b"content"
        assert store.delete(["through/a key, with ümlaut"]) == 1
