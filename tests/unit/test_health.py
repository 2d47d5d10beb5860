"""What readings mean, and that a round ends in time beside things that never answer."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ops_workflows.errors import ConfigurationError, DatabaseError
from ops_workflows.health import replication, sessions, state
from ops_workflows.health.evidence import Held, Sighting, conclude
from ops_workflows.health.probe import Budget, Probe, Seen, gather
from ops_workflows.health.reading import Check, Reading, Severity, Threshold, measured, ok, worst
from ops_workflows.health.replication import Slot, Standby
from ops_workflows.health.round import look
from ops_workflows.health.server import judge_standby
from ops_workflows.health.shipping import Shipping
from ops_workflows.health.shipping import judge as judge_shipping
from ops_workflows.health.thresholds import Thresholds
from ops_workflows.settings import Settings

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
OK, WARNING, UNKNOWN, CRITICAL = Severity
FEW = Threshold(10, 100, "a test")
FREE = Threshold(0.1, 0.05, "a test")
LIMITS = Thresholds.of(Settings())


@pytest.mark.parametrize(
    ("threshold", "value", "severity"),
    [
        (FEW, 9.99, OK),
        (FEW, 10, WARNING),
        (FEW, 99.99, WARNING),
        (FEW, 100, CRITICAL),
        (FREE, 0.11, OK),
        (FREE, 0.1, WARNING),
        (FREE, 0.05, CRITICAL),
        (FREE, 0, CRITICAL),
    ],
)
def test_a_value_at_a_threshold_is_beyond_it_from_whichever_side(
    threshold: Threshold, value: float, severity: Severity
) -> None:
    assert threshold.judge(value) is severity


def test_unknown_is_worse_than_a_warning_and_nothing_is_not_well() -> None:
    readings = [Reading(Check.TCP, each, "") for each in (OK, WARNING, UNKNOWN)]
    assert worst(readings) is UNKNOWN
    assert worst([*readings, Reading(Check.TCP, CRITICAL, "")]) is CRITICAL
    assert worst([]) is UNKNOWN


def test_what_to_do_is_said_only_where_there_is_something_to_do() -> None:
    assert measured(Check.DISK, 0.5, "free", FREE, said="Room.", do="enlarge it").said == "Room."
    assert measured(Check.DISK, 0.01, "free", FREE, said="No room.", do="enlarge it").said.endswith(
        "To do: enlarge it."
    )


def test_each_threshold_says_which_setting_chooses_it() -> None:
    assert LIMITS.connections == Threshold(0.9, 0.95, "OPS_HEALTH_CONNECTIONS")
    assert LIMITS.shipping == Threshold(1800, 3600, "half of OPS_RPO_OBJECTIVE_SECONDS, and all of it")
    for name, field in Settings.model_fields.items():
        if name.startswith("health_"):
            assert "Default: " in (field.description or ""), f"{name} does not say where its default comes from"


@pytest.mark.parametrize("levels", ["", "1", "1,2,3", "a,b", "-1,2"])
def test_thresholds_that_are_no_two_numbers_are_refused(
    levels: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("OPS_HEALTH_AGE", levels or " ")
    with pytest.raises(ConfigurationError, match="OPS_HEALTH_AGE cannot be used"):
        Settings.read()


PRIMARY = Sighting("upkeep_dsn", False, "7", 3, NOW)
DIRECT = replace(PRIMARY, way="backup_dsn")
STANDBY = Sighting("standby_dsn", True, "7", 3, NOW + timedelta(days=1))
WAYS = ("upkeep_dsn", "backup_dsn", "standby_dsn")
HELD = Held(("7",), {"7": 3})


@pytest.mark.parametrize(
    ("seen", "held", "severities"),
    [
        ((PRIMARY, DIRECT, STANDBY), HELD, (OK, OK, OK)),
        ((PRIMARY, DIRECT), HELD, (UNKNOWN, OK, OK)),
        ((), HELD, (UNKNOWN, UNKNOWN, UNKNOWN)),
        ((PRIMARY, DIRECT, replace(STANDBY, is_standby=False)), HELD, (CRITICAL, OK, OK)),
        ((PRIMARY, replace(STANDBY, is_standby=False, timeline=4)), HELD, (CRITICAL, CRITICAL, OK)),
        ((replace(PRIMARY, is_standby=True), replace(DIRECT, is_standby=True), STANDBY), HELD, (CRITICAL, OK, OK)),
        ((PRIMARY, DIRECT, replace(STANDBY, timeline=2)), HELD, (OK, WARNING, OK)),
        ((PRIMARY, DIRECT, replace(STANDBY, system="8")), HELD, (OK, OK, CRITICAL)),
        ((PRIMARY, DIRECT, STANDBY), None, (OK, UNKNOWN, UNKNOWN)),
        ((PRIMARY, DIRECT, STANDBY), Held((), {}), (OK, UNKNOWN, UNKNOWN)),
        ((PRIMARY, DIRECT, STANDBY), Held(("7",), {"7": 4}), (OK, CRITICAL, OK)),
        ((PRIMARY, DIRECT, STANDBY), Held(("7",), {"7": 2}), (OK, WARNING, OK)),
        ((PRIMARY, DIRECT, STANDBY), Held(("8",), {"8": 3}), (OK, UNKNOWN, CRITICAL)),
    ],
)
def test_what_several_ways_say_together(
    seen: tuple[Sighting, ...], held: Held | None, severities: tuple[Severity, ...]
) -> None:
    found = conclude(seen, WAYS, held)
    assert [each.check for each in found] == [Check.ONE_PRIMARY, Check.TIMELINE, Check.SYSTEM_IDENTIFIER]
    assert tuple(each.severity for each in found) == severities, found


CALM = sessions.Activity(True, 100, 5, 0, 0.0, None, 0.0, None, 0.0, None, 0, 0.0, None)


def judged(seen: sessions.Activity) -> dict[Check, Reading]:
    found = sessions.judge(seen, LIMITS.connections, LIMITS.idle, LIMITS.transaction, LIMITS.blocked)
    return {each.check: each for each in found}


def test_sessions_that_the_role_does_not_see_are_unknown_and_their_number_is_known() -> None:
    found = judged(replace(CALM, sees_all=False))
    assert [each.severity for each in found.values()] == [OK, UNKNOWN, UNKNOWN, UNKNOWN]


def test_a_prepared_transaction_counts_as_an_open_one() -> None:
    found = judged(replace(CALM, prepared_seconds=7200, prepared_who="left", open_seconds=1, open_who="pid 1"))
    assert found[Check.OLDEST_TRANSACTION].severity is WARNING
    assert "prepared transaction 'left'" in found[Check.OLDEST_TRANSACTION].said


@pytest.mark.parametrize(
    ("seen", "expected", "severities"),
    [
        ([], False, (OK, OK)),
        ([], True, (CRITICAL, CRITICAL)),
        ([Standby("a", "streaming", 0, None)], True, (OK, OK)),
        ([Standby("a", "streaming", 0, None), Standby("b", "catchup", 2e9, 70)], True, (CRITICAL, CRITICAL)),
        ([Standby("a", "streaming", 1e8, 11)], True, (WARNING, WARNING)),
    ],
)
def test_standbys(seen: list[Standby], expected: bool, severities: tuple[Severity, ...]) -> None:
    found = replication.judge_standbys(
        seen, expected=expected, in_bytes=LIMITS.lag_bytes, in_seconds=LIMITS.lag_seconds
    )
    assert tuple(each.severity for each in found) == severities


@pytest.mark.parametrize(
    ("slot", "severity"),
    [
        (Slot("a", True, "reserved", 0), OK),
        (Slot("a", False, "reserved", 0), WARNING),
        (Slot("a", True, "extended", 2e9), WARNING),
        (Slot("a", True, "extended", 2e10), CRITICAL),
        (Slot("a", False, "unreserved", 0), CRITICAL),
        (Slot("a", False, "lost", None), CRITICAL),
    ],
)
def test_slots(slot: Slot, severity: Severity) -> None:
    well = Slot("well", True, "reserved", 5)
    found = replication.judge_slots([well, slot], LIMITS.slot_bytes)
    assert found.severity is severity
    assert "well" not in found.said.replace("All 2 are in use; none keeps too much.", "")
    assert ("Slot a" in found.said) is (severity is not OK)


SOUND = state.State(1000, "db", "on", 0, None, 0, 86_400.0, [], [])


def test_what_piles_up_or_is_broken() -> None:
    def severities(seen: state.State) -> list[Severity]:
        return [each.severity for each in state.judge(seen, LIMITS.age, LIMITS.deadlocks)]

    assert severities(SOUND) == [OK] * 5
    assert severities(replace(SOUND, age=1_600_000_000))[0] is CRITICAL
    assert severities(replace(SOUND, checksum_failures=1, last_failure=NOW))[1] is CRITICAL
    assert severities(replace(SOUND, checksums="off"))[1] is WARNING
    assert severities(replace(SOUND, deadlocks=24))[2] is WARNING
    assert severities(replace(SOUND, deadlocks=24, counted_seconds=10 * 86_400.0))[2] is OK
    assert severities(replace(SOUND, deadlocks=1, counted_seconds=1.0))[2] is OK, "one is not many a day"
    broken = list(state.judge(replace(SOUND, invalid_indexes=list("abcdefg")), LIMITS.age, LIMITS.deadlocks))[3]
    assert (broken.severity, "a, b, c, d, e and 2 more." in broken.said) == (WARNING, True)


@pytest.mark.parametrize(
    ("row", "severity"),
    [
        ((True, False, "streaming", 0.0), OK),
        ((True, False, "streaming", 61.0), CRITICAL),
        ((True, False, "streaming", None), UNKNOWN),
        ((True, True, "streaming", 0.0), WARNING),
        ((True, False, None, 0.0), CRITICAL),
        ((False, None, None, 0.0), CRITICAL),
    ],
)
def test_a_standby_of_itself(row: tuple[bool, bool | None, str | None, float | None], severity: Severity) -> None:
    assert judge_standby(*row, lag=LIMITS.lag_seconds).severity is severity


SHIPPED = Shipping("7", NOW, 1, 2**24, "0/5000000", True, True, "reserved", "0/5000000")
BEHIND = replace(SHIPPED, shipped="0/4FFFF00")


@pytest.mark.parametrize(
    ("seen", "age", "severity"),
    [
        (SHIPPED, None, OK),
        (replace(SHIPPED, active=False), None, WARNING),
        (BEHIND, 5, OK),
        (BEHIND, 1800, WARNING),
        (BEHIND, 3600, CRITICAL),
        (BEHIND, None, UNKNOWN),
        (replace(BEHIND, active=False), 3600, CRITICAL),
        (replace(SHIPPED, kept="lost"), None, CRITICAL),
        (replace(SHIPPED, there=False), None, CRITICAL),
        (replace(SHIPPED, shipped=None), None, UNKNOWN),
    ],
)
def test_shipping_of_the_log(seen: Shipping, age: int | None, severity: Severity) -> None:
    until = None if age is None else NOW - timedelta(seconds=age)
    assert judge_shipping(seen, until, "ops_wal", LIMITS.shipping).severity is severity


@pytest.fixture
def mute() -> Iterator[tuple[str, int]]:
    """Takes connections, as a stopped server's kernel does, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()


def close_after(over: threading.Event, connection: socket.socket) -> None:
    over.wait()
    connection.shutdown(socket.SHUT_RDWR)


def listens_for_ever(mute: tuple[str, int], over: threading.Event, *, first: bool = False) -> Probe:
    """A probe that reads from a server that says nothing, without a timeout; until the event, so that a test ends."""

    def look_at(_budget: Budget) -> Iterator[Seen]:
        if first:
            yield ok(Check.TCP, "It is there.")
        with closing(socket.create_connection(mute)) as connection:
            threading.Thread(target=close_after, args=(over, connection), daemon=True).start()
            connection.recv(1)

    return Probe("deaf", f"{mute}", [Check.TCP, Check.AUTH, Check.SELECT_1], look_at, CRITICAL)


def deaf() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "deaf"]


def let_go(over: threading.Event) -> None:
    over.set()
    for each in deaf():
        each.join(10)


def readings(seen: list[Seen]) -> dict[Check, Reading]:
    return {each.check: each for each in seen if isinstance(each, Reading)}


def test_a_round_does_not_wait_for_what_hangs_and_keeps_what_was_said_before(mute: tuple[str, int]) -> None:
    over = threading.Event()
    began = time.monotonic()
    found = readings(gather([listens_for_ever(mute, over, first=True)], 0.2, 1))
    taken = time.monotonic() - began
    let_go(over)
    assert 0.2 <= taken < 5
    assert {check: each.severity for check, each in found.items()} == {
        Check.TCP: OK,
        Check.AUTH: CRITICAL,
        Check.SELECT_1: UNKNOWN,
    }
    assert found[Check.AUTH].said == "No answer within 0.2 s."


def test_rounds_beside_a_thing_that_hangs_leave_one_thread_and_look_again_once_it_lets_go(
    mute: tuple[str, int],
) -> None:
    over = threading.Event()
    probe = listens_for_ever(mute, over)
    for number in range(5):
        said = readings(gather([probe], 0.05, 1))[Check.TCP].said
        assert ("still hangs" in said) is (number > 0)
    assert len(deaf()) == 1
    let_go(over)
    assert readings(gather([probe], 5, 1))[Check.TCP].said == "Not looked at, since there was no use in it."


def test_an_error_is_told_where_it_was_met_in_its_own_words() -> None:
    def fails(budget: Budget) -> Iterator[Seen]:
        yield ok(Check.TCP, "It is there.")
        raise DatabaseError("It is no database.")

    found = readings(gather([Probe("failing", "here", [Check.TCP, Check.AUTH, Check.TLS], fails, CRITICAL)], 5, 1))
    assert [(each.severity, each.said) for each in found.values()] == [
        (OK, "It is there."),
        (CRITICAL, "It is no database."),
        (UNKNOWN, "Not looked at: auth came first, and did not come to an end."),
    ]


def test_a_thing_that_hangs_keeps_no_process(mute: tuple[str, int]) -> None:
    program = (
        "import socket, sys\n"
        "from ops_workflows.health.probe import Probe, gather\n"
        "from ops_workflows.health.reading import Check\n"
        f"look = lambda _: [socket.create_connection({mute!r}).recv(1)]\n"
        "print(gather([Probe('deaf', 'there', [Check.TCP], look)], 0.2, 1)[0].severity)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == ("unknown\n", "")


def test_there_is_no_step_without_time_for_it() -> None:
    assert Budget(time.monotonic() + 100, 3).step() == 3
    assert Budget(time.monotonic() + 2.5, 3).step() == 2
    with pytest.raises(Exception, match="no time left"):
        Budget(time.monotonic() + 0.5, 3).step()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "OPS_UPKEEP_DSN is not set"),
        ({"upkeep_dsn": "host=x"}, "OPS_BACKUP_DSN is not set"),
        ({"upkeep_dsn": "host=x", "backup_dsn": "no DSN, s3cret"}, "cannot be read"),
        ({"upkeep_dsn": "host=x port=s3cret", "backup_dsn": "host=x"}, "a port that is no number"),
        ({"upkeep_dsn": "host=x", "backup_dsn": "host=x", "redis_url": "nothing:s3cret@"}, "OPS_REDIS_URL cannot be"),
    ],
)
def test_mistakes_in_the_settings_are_told_before_anything_is_looked_at(more: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        look(Settings(**more))  # type: ignore[arg-type]  # pydantic makes secrets of them
    assert "s3cret" not in str(caught.value)
