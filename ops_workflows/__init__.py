"""Backs up an application's PostgreSQL to S3, proves that the backups restore, and keeps the database well."""
