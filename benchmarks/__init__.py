"""Workloads beside a naive peer and a limit, measured in one run; `python -m benchmarks`."""
