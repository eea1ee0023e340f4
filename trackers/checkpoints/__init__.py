"""Official checkpoints of the published trackers, read and written bit for bit."""
