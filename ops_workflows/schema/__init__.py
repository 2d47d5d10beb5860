"""Migrations, in golang-migrate's format and bookkeeping."""
