"""The oracle of the metrics: what each public toolkit does with one tracker's boxes, written out toolkit by toolkit and
frame by frame in plain loops, from the table of toolkits' rules in the protocols' description and the order of their steps.

Nothing here is shared with `harness`, and nothing is shared between toolkits but arithmetic. Thresholds are the doubles
nearest to k/20, k and k/100, where toolkits differ in the last bit. `slack` makes every comparison with a threshold that
much stricter (or, negative, more lenient): scores of boxes whose arithmetic is not exact lie between the two.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

Box = list[float]
Frames = list[tuple[float, float, float]]
"""Overlap, centre error and normalised centre error of each frame that a toolkit counts."""


@dataclass(frozen=True)
class Scene:
    """One tracked sequence, in the data set's own numbers; a row x, y, w, h per frame; size: (width, height)."""

    predicted: list[Box]
    truth: list[Box]
    visible: list[bool]
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Share:
    """A sequence's part in a score, which is the sum of numerators over the sum of weights."""

    numerator: float
    weight: float


Shares = dict[str, Share]


def divide(a: float, b: float) -> float:
    """IEEE's division, which Python refuses by zero."""
    if b != 0:
        return a / b
    return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a)


def centre(box: Box) -> tuple[float, float]:
    return box[0] + (box[2] - 1) / 2, box[1] + (box[3] - 1) / 2


def distance(dx: float, dy: float) -> float:
    return math.sqrt(dx * dx + dy * dy)


def error(a: Box, b: Box) -> float:
    return distance(centre(a)[0] - centre(b)[0], centre(a)[1] - centre(b)[1])


def norm_error(predicted: Box, truth: Box, sides: tuple[float, float]) -> float:
    """Both centres divided by the sides, then subtracted."""
    (px, py), (x, y) = centre(predicted), centre(truth)
    return distance(divide(px, sides[0]) - divide(x, sides[0]), divide(py, sides[1]) - divide(y, sides[1]))


def shared_area(a: Box, b: Box) -> float:
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(w, 0.0) * max(h, 0.0)


def overlap(a: Box, b: Box) -> float:
    inner = shared_area(a, b)
    return divide(inner, a[2] * a[3] + b[2] * b[3] - inner)


def not_a_number(box: Box) -> bool:
    return any(math.isnan(number) for number in box)


def share(count: float, frames: int) -> Share:
    return Share(count / frames, 1.0) if frames else Share(0.0, 0.0)


def ope(frames: Frames, length: int, slack: float, *, norm: str = "at 0.2", drop_zero: bool = False) -> Shares:
    """One-pass evaluation: curves over `length` frames, IoU > k/20, error <= k px, normalised error <= k/100."""
    success = [sum(o > k / 20 + slack for o, _, _ in frames) for k in range(21)]
    precision = [sum(e <= k - slack for _, e, _ in frames) for k in range(51)]
    norms = [sum(n <= k / 100 - slack for _, _, n in frames) for k in range(51)]
    found = {
        "auc": share(sum(success) / 21, length),
        "precision": share(precision[20], length),
        "op50": share(success[10], length),
        "op75": share(success[15], length),
        "norm_precision_at_20": share(norms[20], length),
        "norm_precision_mean": share(sum(norms) / 51, length),
    }
    found["norm_precision"] = found["norm_precision_at_20" if norm == "at 0.2" else "norm_precision_mean"]
    if drop_zero:
        curves = {"auc": success, "op50": success, "op75": success, "precision": precision}
        found = {key: one if sum(curves.get(key, norms)) > 0 else Share(0.0, 0.0) for key, one in found.items()}
    return found


def pytracking(
    scene: Scene, data: str, slack: float, *, positive: bool = True, exclude: bool = False, strict: bool = False
) -> Shares:
    """pytracking; OSTrack with positive=False, which asks x and y nothing; its exclude_invalid_frames with exclude."""
    truth, predicted = scene.truth, [list(box) for box in scene.predicted]
    for i in range(1, len(predicted)):
        if (predicted[i][2] <= 0 or predicted[i][3] <= 0) and not not_a_number(truth[i]):
            predicted[i] = predicted[i - 1]
    predicted[0] = truth[0]
    has_flags = data in ("lasot", "lasot_ext") or strict
    frames, valid_frames = [], 0
    for i, box in enumerate(truth):
        valid = all(number > 0 for number in box) if positive else box[2] > 0 and box[3] > 0
        visible = scene.visible[i] if has_flags else True
        valid = valid and visible
        found = overlap(predicted[i], box), error(predicted[i], box), norm_error(predicted[i], box, (box[2], box[3]))
        if not valid:
            found = -1.0, -1.0 if data == "uav123" else math.inf, -1.0
        if (data == "lasot" and not visible) or (strict and not valid):
            found = found[0], math.inf, math.inf
        if valid or not exclude:
            frames.append(found)
        valid_frames += valid
    return ope(frames, valid_frames if exclude else len(truth), slack)


def matlab(scene: Scene, data: str, slack: float, *, norm: str = "at 0.2") -> Shares:
    """LaSOT's toolkit; TNL2K's is the same with the mean of the normalised curve."""
    results, anno = [list(box) for box in scene.predicted], scene.truth
    for i in range(1, len(anno)):
        if (results[i][2] <= 0 or results[i][3] <= 0) and not not_a_number(anno[i]):
            results[i] = results[i - 1]
    results[0] = anno[0]
    frames = []
    for i, box in enumerate(anno):
        if not scene.visible[i]:
            continue  # removed; still in the denominator
        if all(number > 0 for number in box):
            sides = box[2], box[3]
            frames.append((overlap(results[i], box), error(results[i], box), norm_error(results[i], box, sides)))
        else:
            frames.append((-1.0, -1.0, -1.0))
    return ope(frames, len(anno), slack, norm=norm, drop_zero=True)


def pysot(scene: Scene, data: str, slack: float) -> Shares:
    frames = []
    for i, box in enumerate(scene.truth):
        if data == "lasot" and not scene.visible[i]:
            continue  # its file of the data set has absent frames for LaSOT alone
        found_overlap = found_error = found_norm = -1.0
        if box[2] > 0 and box[3] > 0:
            found_overlap = overlap(scene.predicted[i], box)
        x, y = centre(box)
        if x > 0 and y > 0:
            found_error = error(scene.predicted[i], box)
            found_norm = norm_error(scene.predicted[i], box, (box[2] + 1e-16, box[3] + 1e-16))
        frames.append((found_overlap, found_error, found_norm))
    return ope(frames, len(scene.truth), slack)


def clipped_overlap(a: Box, b: Box) -> float:
    """got10k's rect_iou, without a bound."""
    inner = shared_area(a, b)
    return min(max(divide(inner, a[2] * a[3] + b[2] * b[3] - inner + 2.0**-52), 0.0), 1.0)


def got10k_ope(scene: Scene, data: str, slack: float) -> Shares:
    boxes, anno = [list(box) for box in scene.predicted], scene.truth
    boxes[0] = anno[0]
    frames = []
    for i, box in enumerate(anno):
        if not_a_number(box):
            continue
        (px, py), (x, y) = centre(boxes[i]), centre(box)
        norm = distance((px - x) / max(1.0, box[2]), (py - y) / max(1.0, box[3]))
        frames.append((clipped_overlap(boxes[i], box), error(boxes[i], box), norm))
    return ope(frames, len(frames), slack, norm="mean")


def bounded(box: Box, size: tuple[int, int]) -> Box:
    x, y = min(max(box[0], 0.0), size[0]), min(max(box[1], 0.0), size[1])
    return [x, y, min(max(box[2], 0.0), size[0] - x), min(max(box[3], 0.0), size[1] - y)]


def got10k(scene: Scene, data: str, slack: float) -> Shares:
    overlaps = [
        clipped_overlap(bounded(predicted, scene.size), bounded(box, scene.size))
        for predicted, box, visible in zip(scene.predicted[1:], scene.truth[1:], scene.visible[1:], strict=True)
        if visible
    ]
    frames = float(len(overlaps))
    return {
        "ao": Share(sum(overlaps), frames),
        "sr50": Share(sum(o > 0.5 + slack for o in overlaps), frames),
        "sr75": Share(sum(o > 0.75 + slack for o in overlaps), frames),
    }


def trackingnet(scene: Scene, data: str, slack: float) -> Shares:
    def rounded(box: Box) -> Box:
        return [n if math.isnan(n) else float(round(n)) for n in box]

    anno, boxes = [rounded(box) for box in scene.truth], [rounded(box) for box in scene.predicted]
    boxes[0] = anno[0]
    frames = []
    for box, guess in zip(anno, boxes, strict=True):
        dx, dy = centre(box)[0] - centre(guess)[0], centre(box)[1] - centre(guess)[1]
        squares = divide(divide(dx, box[2]) * dx, box[2]) + divide(divide(dy, box[3]) * dy, box[3])
        frames.append((overlap(guess, box), distance(dx, dy), math.sqrt(squares)))
    curves = {
        "auc": [sum(o > k / 20 + slack for o, _, _ in frames) for k in range(21)],
        "precision": [sum(e <= 2.5 * k - slack for _, e, _ in frames) for k in range(21)],
        "norm_precision": [sum(n <= k / 40 - slack for _, _, n in frames) for k in range(21)],
    }
    return {
        key: share(sum((curve[k] + curve[k + 1]) / 2 for k in range(20)) / 20, len(anno))
        for key, curve in curves.items()
    }


def otb(scene: Scene, data: str, slack: float) -> Shares:
    boxes = [list(box) for box in scene.predicted]
    boxes[0] = scene.truth[0]
    frames = []
    for box, guess in zip(scene.truth, boxes, strict=True):
        if all(number > 0 for number in box):
            frames.append((overlap(guess, box), round(error(guess, box), 4), math.nan))
        else:
            frames.append((-1.0, -1.0, math.nan))
    found = ope(frames, len(scene.truth), slack)
    return {key: found[key] for key in ("auc", "precision", "op50", "op75")}


def lorat_compatible(scene: Scene, data: str, slack: float) -> Shares:
    frames = []
    for i, box in enumerate(scene.truth):
        guess, valid = scene.predicted[i], box[2] > 0 and box[3] > 0
        visible = scene.visible[i] if data in ("lasot", "lasot_ext") else True
        found = overlap(guess, box), error(guess, box), norm_error(guess, box, (box[2], box[3]))
        if not (valid and visible):
            found = -1.0, -1.0 if data == "uav123" else math.inf, -1.0
        if data == "lasot" and not visible:
            found = -1.0, math.inf, math.inf
        frames.append(found)
    return ope(frames, len(scene.truth), slack)


def lorat_plain(scene: Scene, data: str, slack: float) -> Shares:
    overlaps, errors, norms = [], [], []
    for i, box in enumerate(scene.truth):
        if not scene.visible[i] or not_a_number(box) or box[2] <= 0 or box[3] <= 0:
            continue
        guess = scene.predicted[i]
        if guess[2] <= 0 or guess[3] <= 0:
            found = -1.0, math.inf, math.inf
        else:
            found = overlap(guess, box), error(guess, box), norm_error(guess, box, (box[2], box[3]))
        overlaps.append(found[0] if found[0] != 0 else -1.0)
        errors.append(found[1])
        norms.append(found[2])
    n = len(overlaps)
    success = [sum(o >= k / 20 + slack for o in overlaps) for k in range(21)]
    at_20 = share(sum(e <= 0.2 - slack for e in norms), n)
    return {
        "auc": share(sum(success) / 21, n),
        "precision": share(sum(e <= 20 - slack for e in errors), n),
        "norm_precision": at_20,
        "op50": share(success[10], n),
        "op75": share(success[15], n),
        "norm_precision_at_20": at_20,
        "norm_precision_mean": share(sum(e <= k / 100 - slack for k in range(51) for e in norms) / 51, n),
        "ao": share(sum(max(o, 0.0) for o in overlaps), n),
        "sr50": share(sum(o >= 0.5 + slack for o in overlaps), n),
        "sr75": share(sum(o >= 0.75 + slack for o in overlaps), n),
    }


def in_time(scene: Scene, data: str, slack: float) -> Shares:
    """Not a toolkit's. A failure: ten counted frames on end with an overlap of at most 0.1."""
    overlaps = []
    for i, box in enumerate(scene.truth):
        if i > 0 and scene.visible[i] and not not_a_number(box) and box[2] > 0 and box[3] > 0:
            guess = scene.predicted[i]
            overlaps.append(0.0 if guess[2] <= 0 or guess[3] <= 0 else overlap(guess, box))
    failed, bad, good, longest = None, 0, 0, 0
    for i, found in enumerate(overlaps):
        bad = 0 if found > 0.1 + slack else bad + 1
        good = good + 1 if found > 0.5 + slack else 0
        longest = max(longest, good)
        if bad == 10 and failed is None:
            failed = i - 9
    n = len(overlaps)
    return {
        "until_failure": share(n if failed is None else failed, n),
        "survived": share(n if failed is None else 0, n),
        "unbroken": share(longest, n),
    }


TOOLKITS: dict[str, Callable[[Scene, str, float], Shares]] = {
    "ostrack": partial(pytracking, positive=False),
    "pytracking": pytracking,
    "lasot_matlab": matlab,
    "tnl2k_matlab": partial(matlab, norm="mean"),
    "pysot": pysot,
    "got10k_ope": got10k_ope,
    "got10k": got10k,
    "trackingnet": trackingnet,
    "otb": otb,
    "lorat_compatible": lorat_compatible,
    "lorat_plain": lorat_plain,
    "ostrack_exclude_invalid": partial(pytracking, positive=False, exclude=True),
    "strict": partial(pytracking, positive=False, strict=True),
    "in_time": in_time,
}
"""By the names of `trackablate.harness.scoring.dialects.DIALECTS`."""


def shares(toolkit: str, scene: Scene, data: str, slack: float = 0.0) -> Shares:
    """One sequence's part in each score that a toolkit prints; data: the protocol's name."""
    return TOOLKITS[toolkit](scene, data, slack)


def scores(toolkit: str, scenes: Sequence[Scene], data: str) -> dict[str, float]:
    """A tracker's scores over sequences, 0..1."""
    found = [shares(toolkit, scene, data) for scene in scenes]
    return {key: sum(one[key].numerator for one in found) / sum(one[key].weight for one in found) for key in found[0]}
