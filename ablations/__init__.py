"""Which runs answer which question. May import datasets, trackers and harness."""
