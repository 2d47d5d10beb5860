"""The application's caches, in PostgreSQL and in Valkey or Redis, kept lean without anybody waiting for it."""
