"""Tracks a benchmark's sequences with a trained run, and measures tracking speed."""
