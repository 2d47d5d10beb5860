"""The same stack as the integration tests have. `pytest tests/soak` runs these; they take hours."""

from tests.integration.conftest import _no_settings_from_outside, settings, stack

__all__ = ["_no_settings_from_outside", "settings", "stack"]
