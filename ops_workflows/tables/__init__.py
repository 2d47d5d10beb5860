"""Checks that see trouble of the application's tables early: they look, and change nothing."""
