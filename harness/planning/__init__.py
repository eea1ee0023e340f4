"""Estimates what a study will take before it runs: time, device hours, memory and disk."""
