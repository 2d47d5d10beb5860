"""Dagster's own history: which runs, events and ticks it need not remember any more."""
