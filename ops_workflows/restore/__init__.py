"""Repository -> running database. Drills, checks and people all restore by this one path."""
