"""How the database and what it rests on are right now: probes with timeouts, and what their readings mean."""
