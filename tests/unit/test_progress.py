import logging

import pytest

from ops_workflows.progress import SILENT, Logged


def test_a_log_hears_of_phases_sentences_and_now_and_then_of_advance(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = Logged(logging.getLogger("here"))
    with caplog.at_level(logging.INFO):
        logged.begin("fetch", 2_000_000)
        logged.advance(1_000_000)
        assert [record.getMessage() for record in caplog.records] == ["fetch (2 MB)"]
        monkeypatch.setattr("ops_workflows.progress._LOG_EVERY_SECONDS", 0)
        logged.advance(1_000_000)
        logged.say("look at this")
        logged.begin("verify", None)
        logged.advance(7)
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert said[1:] == [("INFO", "fetch: 50 %"), ("WARNING", "look at this"), ("INFO", "verify")]


def test_silence() -> None:
    SILENT.begin("x", 1)
    SILENT.advance(1)
    SILENT.say("x")
