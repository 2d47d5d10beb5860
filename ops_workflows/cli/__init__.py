"""`ops`: the same functions for a person at a terminal. Dagster is not needed for any of them."""

from ops_workflows.cli.app import main

__all__ = ["main"]
