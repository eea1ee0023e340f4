"""Trackers that learn nothing: lower bounds that stand in every table. No torch here."""

import cv2
import numpy as np
from numpy.typing import NDArray

from trackablate.datasets.pairs.cropping import inside_image
from trackablate.datasets.sequence import Image


class StaticBox:
    """Repeats the first box."""

    def initialise(self, image: Image, box: NDArray[np.float64]) -> None:
        """Remember the box xywh."""
        self.box = np.asarray(box, dtype=np.float64)

    def update(self, image: Image) -> NDArray[np.float64]:
        """Return the first box."""
        return self.box


class NormalisedCrossCorrelation:
    """Matches the first frame's template by zero-mean normalised cross-correlation at three scales.

    The search region has side 3 * sqrt(w * h) around the last box (cv2.TM_CCOEFF_NORMED). A change of scale must win by
    2 %, as in classic correlation trackers, so that the size does not drift on noise. The template is never updated.
    `score` is the correlation of the last box.
    """

    SCALES = (0.95, 1.0, 1.05)
    REACH = 3.0
    SCALE_PENALTY = 0.98
    MIN_SIDE = 3.0

    def initialise(self, image: Image, box: NDArray[np.float64]) -> None:
        """Cut the grey template at box xywh."""
        height, width = image.shape[:2]
        self.box = inside_image(np.asarray(box, dtype=np.float64), width, height, self.MIN_SIDE)
        x, y, w, h = (round(v) for v in self.box)
        self.template = self._grey(image)[y : y + max(h, 3), x : x + max(w, 3)]
        self.size, self.scale, self.score = self.box[2:].copy(), 1.0, 1.0

    def update(self, image: Image) -> NDArray[np.float64]:
        """Return the box with the highest correlation near the last one."""
        grey = self._grey(image)
        found = [m for m in (self._match(grey, self.scale * s, s) for s in self.SCALES) if m is not None]
        if found:
            self.score, self.scale, centre = max(found, key=lambda match: match[0])
            size = self.size * self.scale
            box = np.concatenate([centre - size / 2, size])
            self.box = inside_image(box, image.shape[1], image.shape[0], self.MIN_SIDE)
        return self.box

    def _match(
        self, grey: NDArray[np.uint8], scale: float, change: float
    ) -> tuple[float, float, NDArray[np.float64]] | None:
        width, height = (max(3, round(v * scale)) for v in self.template.shape[::-1])
        centre = self.box[:2] + self.box[2:] / 2
        reach = self.REACH / 2 * float(np.sqrt(self.box[2] * self.box[3]))
        left, top = (max(0, int(c - reach - s / 2)) for c, s in zip(centre, (width, height), strict=True))
        region = grey[top : int(centre[1] + reach + height / 2), left : int(centre[0] + reach + width / 2)]
        if region.shape[0] < height or region.shape[1] < width:
            return None
        score = cv2.matchTemplate(region, cv2.resize(self.template, (width, height)), cv2.TM_CCOEFF_NORMED)
        _, best, _, place = cv2.minMaxLoc(np.nan_to_num(score, nan=-1.0, posinf=-1.0, neginf=-1.0))
        penalty = 1.0 if change == 1.0 else self.SCALE_PENALTY
        return best * penalty, scale, np.array([left + place[0] + width / 2, top + place[1] + height / 2])

    @staticmethod
    def _grey(image: Image) -> NDArray[np.uint8]:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


FLOORS: dict[str, type[StaticBox] | type[NormalisedCrossCorrelation]] = {
    "static": StaticBox,
    "ncc": NormalisedCrossCorrelation,
}
