"""`ops dev`: all of Dagster runs, a job launched in its UI goes through the queue, and Ctrl-C leaves nothing."""

import json
import re
import signal
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from ops_workflows.local.stack import status
from ops_workflows.postgres.processes import wait_until
from tests.acceptance.conftest import Installation
from tests.support.command import started
from tests.support.servers import free_port

LAUNCH = """mutation Launch($selector: JobOrPipelineSelector!) {
  launchRun(executionParams: {selector: $selector, runConfigData: {}}) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}"""
STATUS = "query Status($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
SCHEDULES = """query { schedulesOrError(repositorySelector: {
  repositoryLocationName: "ops_workflows", repositoryName: "__repository__"}) {
  ... on Schedules { results { name scheduleState { status } } } } }"""


def ask(url: str, query: str, **variables: object) -> Any:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        found = json.load(answer)
    assert "errors" not in found, found
    return found["data"]


def launched(url: str, job: str) -> str:
    selector = {"repositoryLocationName": "ops_workflows", "repositoryName": "__repository__", "pipelineName": job}
    done = ask(url, LAUNCH, selector=selector)["launchRun"]
    assert done["__typename"] == "LaunchRunSuccess", done
    return str(done["run"]["runId"])


def pids_of(folder: Path) -> list[int]:
    """Every process that was told about the folder or stands in it, asked of the kernel."""
    found = []
    for process in psutil.process_iter():
        try:
            told = str(folder) in process.environ().get("OPS_DEV_FOLDER", "")
            if process.pid != psutil.Process().pid and (told or str(folder) in process.cwd()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_dev_runs_a_job_through_the_queue_and_leaves_nothing(empty: Installation) -> None:
    port = free_port()
    with started("ops", "dev", "--port", str(port), "--rate", "5", folder=empty.folder) as dev:
        assert dev.stdout is not None
        said: list[str] = []
        url = None
        while url is None:
            line = dev.stdout.readline()
            assert line, (said, dev.stderr and dev.stderr.read())
            said.append(line)
            url = re.search(r"Dagster is at (\S+?)\.\s", line)
        address = url[1]
        schedules = ask(address, SCHEDULES)["schedulesOrError"]["results"]
        assert {each["scheduleState"]["status"] for each in schedules} == {"RUNNING"}
        run = launched(address, "nightly_backup")

        def state() -> str:
            return str(ask(address, STATUS, id=run)["runOrError"]["status"])

        assert wait_until(lambda: state() in {"SUCCESS", "FAILURE", "CANCELED"}, 150), state()
        assert state() == "SUCCESS"
        assert pids_of(empty.folder)
        dev.send_signal(signal.SIGINT)
        dev.communicate(timeout=90)
        assert dev.returncode in {0, 130}
    assert pids_of(empty.folder) == []
    assert [service for service in status(empty.folder) if service.pids] == []
