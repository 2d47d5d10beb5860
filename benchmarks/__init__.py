"""Each claim of speed and memory, measured beside its peers in one run: `python -m benchmarks`, or `make bench`."""
