"""Bytes in a bucket: streaming in and out, codecs, checksums. Knows nothing of PostgreSQL."""
