"""Database -> repository."""
