import stat
from pathlib import Path

from ops_workflows.local.layout import Layout


def test_what_dagsters_runs_printed_is_ours_alone_and_goes_with_the_data(tmp_path: Path) -> None:
    layout = Layout(tmp_path.resolve())
    printed = tmp_path / ".ops/dagster/logs/run/compute_logs/step.out"
    printed.parent.mkdir(parents=True)
    printed.touch()
    layout.prepare(None, ("primary",))
    assert stat.S_IMODE((tmp_path / ".ops/dagster").stat().st_mode) == 0o700
    assert printed.exists()
    layout.delete()
    assert list((tmp_path / ".ops").iterdir()) == []
