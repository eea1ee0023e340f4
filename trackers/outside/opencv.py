"""OpenCV's built-in trackers, as an example of a tracker from outside, and as floors. It imports nothing of the project."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


class OpenCV:
    """One of OpenCV's trackers.

    Args:
        kind: What follows `Tracker` in OpenCV's name of it: MIL, CSRT, KCF, Nano, ...
        parameters: Fields of its Params class, for instance the files of Nano's networks.
    """

    def __init__(self, kind: str, **parameters: Any) -> None:
        places = [cv2, getattr(cv2, "legacy", None)]
        place = next((place for place in places if hasattr(place, f"Tracker{kind}_create")), None)
        if place is None:
            raise ImportError(
                f"OpenCV {cv2.__version__} has no tracker {kind}, only {', '.join(kinds())}: others are in the package"
                " opencv-contrib-python"
            )
        self.create, self.settings = getattr(place, f"Tracker{kind}_create"), list[Any]()
        if parameters:
            settings = getattr(place, f"Tracker{kind}_Params")()
            for name, value in parameters.items():
                if not hasattr(settings, name):
                    raise TypeError(f"Tracker{kind} has no parameter {name}")
                setattr(settings, name, value)
            self.settings = [settings]

    def initialise(self, image: NDArray[np.uint8], box: NDArray[np.float64]) -> None:
        """Start on the first frame, RGB, with box xywh, rounded to the whole pixels that OpenCV takes."""
        self.box = np.asarray(box, dtype=np.float64)
        x, y, w, h = (round(float(v)) for v in box)
        self.tracker = self.create(*self.settings)
        self.tracker.init(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (x, y, max(1, w), max(1, h)))

    def update(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the box xywh, the last one while OpenCV says that the target is lost."""
        found, box = self.tracker.update(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if found:
            self.box = np.asarray(box, dtype=np.float64)
        return self.box


def kinds() -> list[str]:
    """Return the kinds of tracker that the installed OpenCV has."""
    names = [*dir(cv2), *dir(getattr(cv2, "legacy", None))]
    made = {name.removesuffix("_create") for name in names if name.startswith("Tracker") and name.endswith("_create")}
    return sorted(name.removeprefix("Tracker") for name in made)
