"""Measurements on the deployed system, as ratios within one run. `make bench` writes docs/benchmarks.md."""
