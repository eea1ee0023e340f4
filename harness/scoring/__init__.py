"""From boxes to scores: tallies, metrics by the rules of any toolkit, raw result files, and scored trackers."""
