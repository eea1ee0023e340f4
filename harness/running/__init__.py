"""Runs what is missing of a study: one process hands tasks to workers, and workers write to the store."""
