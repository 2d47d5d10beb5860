"""The embedded stack (real servers from PyPI wheels) and its workload, for demo, development and tests."""
