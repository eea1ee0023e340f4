"""Makes any tracker of this project a tracker of the got10k package, for its experiments. No torch here.

    from got10k.experiments import ExperimentGOT10k
    from trackablate.trackers.floors import FLOORS
    from trackablate.trackers.toolkit import toolkit_tracker

    ExperimentGOT10k("/data/GOT-10k").run(toolkit_tracker("ncc", FLOORS["ncc"]()))

The tracker of a trained run comes from `harness.tracking.evaluation.online_tracker`.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

    from trackablate.trackers.inference import FrameTracker


def toolkit_tracker(name: str, tracker: "FrameTracker", *, origin: int = 0) -> Any:
    """Return a `got10k.trackers.Tracker` that tracks with `tracker`: a floor, or a trained network for one target.

    Our trackers are deterministic, so GOT-10k's experiment runs one repetition.

    `origin` is the data set's number of the first pixel, since the package reads and writes boxes in such numbers: 0 on
    GOT-10k and TrackingNet, 1 on OTB, LaSOT and UAV123. Raises ImportError, with the remedy, without the got10k package.
    """
    try:
        from got10k.trackers import Tracker
    except ImportError as error:
        raise ImportError(f"the got10k package cannot be imported ({error}): pip install got10k") from error

    class ToolkitTracker(Tracker):  # type: ignore[misc]
        """The tracker under the interface of the package. Boxes are xywh."""

        def init(self, image: "PillowImage", box: ArrayLike) -> None:
            """Start on the first frame with box xywh."""
            tracker.initialise(np.asarray(image.convert("RGB")), np.asarray(box, dtype=np.float64) - offset)

        def update(self, image: "PillowImage") -> NDArray[np.float64]:
            """Return the box in the next frame."""
            return tracker.update(np.asarray(image.convert("RGB"))) + offset

    offset = np.array([origin, origin, 0, 0], dtype=np.float64)
    return ToolkitTracker(name, is_deterministic=True)
