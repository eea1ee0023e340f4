"""Turns one run specification into one run record: training, tracking, scoring, costs, storage, and the command line."""
