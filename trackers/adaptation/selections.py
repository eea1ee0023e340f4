"""The methods that add nothing and only choose which of the encoder's own parameters train."""

from trackablate.trackers.adaptation.method import Method

FULL = Method(freed=("encoder.*",))
FROZEN = Method()
BITFIT = Method(freed=("encoder.*bias",))
