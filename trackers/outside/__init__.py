"""Trackers from outside the project, each run in a process of its own: a Python class, or any program by TraX."""
