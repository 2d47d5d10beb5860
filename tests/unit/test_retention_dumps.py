"""Which dumps stay: case by case, and what is promised whatever the case."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from ops_workflows.proof.restorable import RESTORABLE
from ops_workflows.repository import holdings
from ops_workflows.repository.periods import Policy
from ops_workflows.repository.retention import plan
from ops_workflows.repository.retention_dumps import DumpDecision, DumpFacts, plan_dumps
from ops_workflows.repository.wal import WalListing
from ops_workflows.repository.wal_need import WalFacts

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
FORMS = ("%Y-%m-%d", "%G-W%V", "%Y-%m")
ALL = frozenset("abc")


def a_dump(days_ago: float, *databases: str, restorable: bool | None = None) -> DumpFacts:
    """A dump of these databases, by default all, of a cluster that has three."""
    held = frozenset(databases) or ALL
    finished = NOW - timedelta(days=days_ago)
    return DumpFacts(
        id=f"{finished:%Y%m%dT%H%M%SZ}-{round(days_ago * 10):04x}",
        finished_at=finished,
        databases=held,
        left_out=ALL - held,
        stored_bytes=1000,
        restorable=restorable,
    )


def kept(*dumps: DumpFacts, policy: Policy = Policy(1, 0, 0), restoring: tuple[str, ...] = ()) -> dict[str, str]:  # noqa: B008
    return {each.dump.id: "; ".join(each.reasons) for each in plan_dumps(dumps, policy, NOW, restoring) if each.keep}


def test_the_proof_is_called_as_it_is_recorded() -> None:
    assert holdings._RESTORABLE == RESTORABLE


def test_the_newest_and_the_last_that_was_shown_to_be_restorable() -> None:
    shown, failed, newest = a_dump(9, restorable=True), a_dump(5, restorable=False), a_dump(0.1)
    assert kept(shown, failed, newest) == {
        shown.id: "last that was shown to be restorable",
        newest.id: "daily 2026-03-31; newest",
    }


def test_of_one_day_one_that_failed_does_not_push_out_one_that_did_not() -> None:
    good, bad, newest = a_dump(1.2), a_dump(1.1, restorable=False), a_dump(0)
    assert kept(good, bad, newest, policy=Policy(2, 0, 0)) == {
        good.id: "daily 2026-03-30",
        newest.id: "daily 2026-03-31; newest",
    }


def test_a_dump_of_one_database_pushes_out_no_dump_of_others() -> None:
    nightly, older, by_hand = a_dump(0.4), a_dump(0.45), a_dump(0.1, "a")
    assert kept(older, nightly, by_hand) == {
        nightly.id: "daily 2026-03-31; newest of database b; newest of database c",
        by_hand.id: "daily 2026-03-31; newest",
    }
    yesterday = a_dump(1)
    assert kept(yesterday, by_hand)[yesterday.id] == "newest of database b; newest of database c"


def test_a_dump_that_is_being_loaded_stays() -> None:
    old, newest = a_dump(40), a_dump(0)
    assert kept(old, newest, restoring=(old.id, "another")) == {
        old.id: "is being restored",
        newest.id: "daily 2026-03-31; newest",
    }


def test_the_plan_counts_what_they_free() -> None:
    done = plan([], WalFacts(WalListing(())), {}, Policy(1, 0, 0), NOW, dumps=[a_dump(3), a_dump(2), a_dump(0)])
    assert [dump.id for dump in done.gone_dumps] == [a_dump(3).id, a_dump(2).id]
    assert done.freed_bytes == 2000


@st.composite
def lives(draw: st.DrawFn) -> list[DumpFacts]:
    each = st.tuples(
        st.integers(0, 2000),
        st.sampled_from([(), (), (), ("a",), ("b", "c")]),
        st.sampled_from([None, None, True, False]),
    )
    found = draw(st.lists(each, max_size=60, unique_by=lambda one: one[0]))
    return [a_dump(tenths / 10, *held, restorable=restorable) for tenths, held, restorable in sorted(found)]


POLICIES = st.builds(Policy, daily=st.integers(1, 40), weekly=st.integers(0, 12), monthly=st.integers(0, 14))


@settings(max_examples=300, deadline=None)
@given(lives(), POLICIES)
def test_whatever_there_was(dumps: list[DumpFacts], policy: Policy) -> None:
    decided: tuple[DumpDecision, ...] = plan_dumps(dumps, policy, NOW)
    stay = [each.dump for each in decided if each.keep]
    assert {each.dump.id for each in decided} == {dump.id for dump in dumps}
    assert all(each.reasons for each in decided)
    # Each period that counts still has every database that it had, sound if it had that in a sound dump.
    for form, count in zip(FORMS, (policy.daily, policy.weekly, policy.monthly), strict=True):
        for period in sorted({f"{dump.finished_at:{form}}" for dump in dumps}, reverse=True)[:count]:
            had = [dump for dump in dumps if f"{dump.finished_at:{form}}" == period]
            has = [dump for dump in stay if f"{dump.finished_at:{form}}" == period]
            sound = [dump for dump in had if dump.restorable is not False] or had
            assert frozenset().union(*(dump.databases for dump in sound)) <= frozenset().union(
                *(dump.databases for dump in has if dump in sound)
            )
    for database in ALL:
        of = [dump for dump in dumps if database in dump.databases]
        if of:
            assert max(of, key=lambda dump: dump.finished_at) in stay
    shown = [dump for dump in dumps if dump.restorable]
    assert not shown or max(shown, key=lambda dump: dump.finished_at) in stay
    # Carried out, it leaves nothing to do.
    assert all(each.keep for each in plan_dumps(stay, policy, NOW))
