"""Tracking of a benchmark's sequences with a run's tracker, and its speed."""
