"""The database: connections, the replication protocol, LSNs, and server processes. Knows nothing of buckets."""
