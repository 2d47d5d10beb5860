"""The query log as history: small, mergeable statistics for each hour and day."""
