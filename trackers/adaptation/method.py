"""What an adaptation method is: the modules that it adds to the encoder, and the parameters that it trains."""

from collections.abc import Callable
from typing import Any, NamedTuple

from trackablate.trackers.spec import TrackerSpec


class Method(NamedTuple):
    """One adaptation method. Parameters are given by patterns of their names, as in `fnmatch`.

    Attributes:
        add: Called as add(encoder, spec); puts the method's modules into the encoder, in place.
        added: The parameters of these modules. They train.
        freed: The parameters of the pretrained encoder that train.
    """

    add: Callable[[Any, TrackerSpec], None] = lambda encoder, spec: None
    added: tuple[str, ...] = ()
    freed: tuple[str, ...] = ()
