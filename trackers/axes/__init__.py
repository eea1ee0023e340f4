"""The values that the axes of a tracker specification can take. No torch here; `trackers.spec` puts them together."""
