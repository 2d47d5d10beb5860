from random import Random
from statistics import quantiles

from ops_workflows.local.traffic_tally import Tally


def test_percentiles_are_right_to_two_per_cent() -> None:
    tally, random = Tally(), Random(1)
    seconds = [random.lognormvariate(-6, 1) for _ in range(20_000)]
    for value in seconds:
        tally.took(value)
    exact = quantiles(seconds, n=100)
    report = tally.report()
    assert abs(report.p50_ms / (exact[49] * 1000) - 1) < 0.02
    assert abs(report.p95_ms / (exact[94] * 1000) - 1) < 0.02


def test_a_report_is_a_snapshot() -> None:
    tally = Tally()
    tally.fail("AdminShutdown")
    before = tally.report()
    tally.add("reads")
    tally.fail("AdminShutdown")
    assert (before.reads, before.errors) == (0, {"AdminShutdown": 1})
    assert (tally.report().reads, tally.report().errors) == (1, {"AdminShutdown": 2})
    assert before.p95_ms == 0
