"""The fault suite: damage of every kind, and for each the rung of the ladder that must notice it."""
