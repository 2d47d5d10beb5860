"""Connections to the application's Valkey or Redis server."""
