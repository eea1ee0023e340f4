"""The network of tracking at fixed shapes: replayed as a CUDA graph on a GPU, made by torch's compiler on a CPU.

Batches come in a handful of sizes (`NetworkTracker.few_shapes`), and each is compiled when it first comes.
"""

import warnings

import torch
from torch import Tensor

from trackablate.harness.spec import Precision
from trackablate.harness.speed import FAILED, Forward
from trackablate.harness.training.engine import COMPILER, failed_to_compile, half_of
from trackablate.trackers.inference import Find, NetworkTracker
from trackablate.trackers.model import OneStreamTracker

WARM_UP = 3
"""Calls before a capture, in which libraries choose their kernels and set up their memory."""
MOST_COMPILED = 250
"""Compiled functions that a process keeps: one for each tracker and each size of a batch."""


class FixedShapes:
    """Computes what `find` does, compiled for each shape that it is given.

    If that fails, it warns once, and then computes everything as `find` does.

    Attributes:
        how: How it computes.
    """

    def __init__(self, find: Find, device: torch.device) -> None:
        self._find, self._gpu = find, device.type == "cuda"
        self._made: dict[torch.Size, Find] = {}
        self.how: Forward = "CUDA graph" if self._gpu else "compiled"

    def __call__(self, templates: Tensor, search: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Return box and score of each row. The next call may overwrite them."""
        made = self._made.get(search.shape)
        if made is None and self.how != FAILED:
            made = self._make(templates, search, masks)
        return (made or self._find)(templates, search, masks)

    def _make(self, *inputs: Tensor) -> Find | None:
        make = captured if self._gpu else compiled
        try:
            return self._made.setdefault(inputs[1].shape, make(self._find, *inputs))
        except RuntimeError as error:
            if not (self._gpu or failed_to_compile(error)):
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            warnings.warn(f"the network is computed as it is, for it cannot be compiled: {reason}", stacklevel=2)
            self.how, self._made = FAILED, {}
            return None


def captured(find: Find, *inputs: Tensor) -> Find:
    """Return a CUDA graph of `find` at the shapes of these inputs. Raises RuntimeError if it asks anything of the host."""
    with torch.cuda.device(inputs[0].device):
        held, graph = [tensor.clone() for tensor in inputs], torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # is left also if the capture fails
            for _ in range(WARM_UP):
                find(*held)
            with torch.cuda.graph(graph, stream=stream):
                found = find(*held)
        torch.cuda.current_stream().wait_stream(stream)

    def replay(*given: Tensor) -> tuple[Tensor, Tensor]:
        for place, tensor in zip(held, given, strict=True):
            place.copy_(tensor)
        graph.replay()
        return found

    return replay


def compiled(find: Find, *inputs: Tensor) -> Find:
    """Return `find` made by torch's compiler for the shapes of these inputs. It is one graph, or this fails."""
    from torch._dynamo import config  # takes a second to import

    made: Find = torch.compile(find, backend=COMPILER, fullgraph=True, dynamic=False)
    made = config.patch(recompile_limit=MOST_COMPILED)(made)
    made(*inputs)
    return made


def network_tracker(
    model: OneStreamTracker, device: torch.device, precision: Precision = "fp32", *, compile: bool = False
) -> NetworkTracker:
    """Return the tracker of a trained, merged model. Raises BadInput if the device cannot track in that precision."""
    tracker = NetworkTracker(model, device, half_of(precision, device))
    if compile:
        tracker.find, tracker.few_shapes = FixedShapes(tracker.find, device), True
    return tracker


def forward_of(tracker: object) -> Forward | None:
    """Return how a tracker's network computes; None for a tracker without a network of ours."""
    if not isinstance(tracker, NetworkTracker):
        return None
    return tracker.find.how if isinstance(tracker.find, FixedShapes) else "eager"
