"""Intervals, tests, sample sizes and rank stability."""
