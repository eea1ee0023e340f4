"""Errors that are shown as one message, never as a traceback."""


class BadInput(Exception):
    """Bad usage or bad input, found before any work. The message names the thing and the remedy."""


class RunFailed(Exception):
    """At least one run failed; what was done is kept. Exit status 1."""
