"""The yardstick of bench_score: sequence by sequence and tracker by tracker, pandas reads a file by trying separators, torch
measures it by OSTrack's rules for LaSOT, curves are kept as float32. Written from the rules, not from a toolkit's code."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor


def toolkit_loop(annotations: Path, trackers: list[Path]) -> NDArray[np.float64]:
    """(trackers, 3): AUC, precision at 20 px and normalised precision at 0.2, as shares."""
    names = sorted(p.name for p in annotations.iterdir())
    overlaps = torch.arange(0.0, 1.05, 0.05, dtype=torch.float64)
    pixels = torch.arange(0, 51, dtype=torch.float64)
    success = torch.zeros(len(names), len(trackers), len(overlaps))
    precision, normalised = (torch.zeros(len(names), len(trackers), len(pixels)) for _ in range(2))
    for i, name in enumerate(names):
        truth = torch.tensor(read(annotations / name / "groundtruth.txt"))
        visible = torch.tensor(read(annotations / name / "absent.txt")[:, 0] == 0)
        for j, tracker in enumerate(trackers):
            overlap, error, norm = measure(torch.tensor(read(tracker / f"{name}.txt")), truth, visible)
            success[i, j] = (overlap.view(-1, 1) > overlaps.view(1, -1)).sum(0).float() / len(truth)
            precision[i, j] = (error.view(-1, 1) <= pixels.view(1, -1)).sum(0).float() / len(truth)
            normalised[i, j] = (norm.view(-1, 1) <= pixels.view(1, -1) / 100).sum(0).float() / len(truth)
    scores = [success.mean(0).mean(1), precision.mean(0)[:, 20], normalised.mean(0)[:, 20]]
    return torch.stack(scores, 1).double().numpy()


def read(file: Path) -> NDArray[np.float64]:
    """A file of numbers, separated by tabs or else by commas."""
    for separator in ("\t", ","):
        try:
            frame = pd.read_csv(
                file, delimiter=separator, header=None, dtype=np.float64, na_filter=False, low_memory=False
            )
        except ValueError:
            continue
        return frame.to_numpy()
    raise ValueError(f"{file} cannot be read")


def measure(boxes: Tensor, truth: Tensor, visible: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Overlap, centre error and normalised centre error of every frame, invalid ones set as OSTrack sets them."""
    boxes = boxes.clone()
    boxes[0] = truth[0]
    if torch.isnan(boxes).any() or (boxes[:, 2:] < 0).any():
        raise ValueError("a box is NaN or of negative size")
    if (boxes[:, 2:] == 0).any():
        for i in range(1, len(boxes)):
            if (boxes[i, 2:] == 0).any():
                boxes[i] = boxes[i - 1]
    valid = ((truth[:, 2:] > 0).sum(1) == 2) & visible
    centre, true_centre = (b[:, :2] + 0.5 * (b[:, 2:] - 1.0) for b in (boxes, truth))
    error = ((centre - true_centre) ** 2).sum(1).sqrt()
    norm = ((centre / truth[:, 2:] - true_centre / truth[:, 2:]) ** 2).sum(1).sqrt()
    low = torch.max(boxes[:, :2], truth[:, :2])
    high = torch.min(boxes[:, :2] + boxes[:, 2:] - 1.0, truth[:, :2] + truth[:, 2:] - 1.0)
    shared = (high - low + 1.0).clamp(min=0).prod(1)
    overlap = shared / (boxes[:, 2:].prod(1) + truth[:, 2:].prod(1) - shared)
    overlap[~valid], error[~valid], norm[~valid] = -1.0, float("inf"), -1.0
    norm[~visible] = float("inf")
    return overlap, error, norm
