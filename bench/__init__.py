"""Benchmarks: this service beside what a competent developer writes in an afternoon. `python -m bench --help`."""
