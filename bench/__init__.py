"""Benchmarks: workloads, peers, paired timing. `python -m pytest bench`, `python -m bench.table`."""
