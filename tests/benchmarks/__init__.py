"""Benchmarks: run by hand or by `nox -s benchmark`, never as tests. Each prints ratios against something it names."""
