"""The losses of the published trackers, as pure functions of tensors.

Boxes are xyxy in any unit, of shape (..., 4).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-6


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Convert centre and size to corners, (..., 4)."""
    return torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], dim=-1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Convert corners to centre and size, (..., 4)."""
    return torch.cat([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], dim=-1)


def _overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    size = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    intersection = size.prod(-1)
    area_a = (a[..., 2:] - a[..., :2]).clamp(min=0).prod(-1)
    area_b = (b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1)
    return intersection, area_a + area_b - intersection


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the intersection over union of paired boxes, (...,)."""
    intersection, union = _overlap(a, b)
    return intersection / union.clamp(min=EPS)


def giou_loss(a: Tensor, b: Tensor) -> Tensor:
    """Return 1 - GIoU of paired boxes, in [0, 2], (...,) (Rezatofighi et al. 2019, algorithm 1)."""
    intersection, union = _overlap(a, b)
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    return 1 - intersection / union.clamp(min=EPS) + (hull - union) / hull.clamp(min=EPS)


def quality_focal_loss(logits: Tensor, quality: Tensor, beta: float = 2.0) -> Tensor:
    """Return DETRack's equation 2, elementwise (after Li et al. 2020).

    It is |y - sigma|^beta times the binary cross-entropy of sigma and the soft label y in [0, 1]. Its only minimum is
    at sigma = y.
    """
    sigma = logits.sigmoid()
    return (quality - sigma).abs().pow(beta) * F.binary_cross_entropy_with_logits(logits, quality, reduction="none")


def centre_focal_loss(score: Tensor, heatmap: Tensor, alpha: float = 2.0, beta: float = 4.0) -> Tensor:
    """Return the penalty-reduced focal loss of a Gaussian heat map (CornerNet, equation 1; OSTrack, section 3.3).

    It is the sum over (B, H, W) divided by the number of peaks, a scalar. `score` is a probability inside (0, 1).
    """
    peak = heatmap.eq(1)
    positive = torch.log(score) * (1 - score).pow(alpha) * peak
    negative = torch.log(1 - score) * score.pow(alpha) * (1 - heatmap).pow(beta) * ~peak
    return -(positive.sum() + negative.sum()) / peak.sum().clamp(min=1)


def anchor_free_losses(
    logits: Tensor, boxes: Tensor, truth: Tensor, positive: Tensor, *, iou_aware: bool
) -> dict[str, Tensor]:
    """Return LoRAT's score and GIoU losses, summed over the batch and divided by the number of positives, at least 1.

    The score loss is the binary cross-entropy of every cell. Its target is 0 and, at positives, 1 or (iou_aware) the
    IoU of the predicted box without its gradient. GIoU is taken at the positives. logits, positive: (B, N); boxes: (B,
    N, 4); truth: (B, 4).
    """
    target = truth[:, None].expand_as(boxes)
    quality = box_iou(boxes, target).detach() * positive if iou_aware else positive.to(logits.dtype)
    count = positive.sum().clamp(min=1)
    score = F.binary_cross_entropy_with_logits(logits, quality, reduction="sum") / count
    return {"score": score, "giou": (giou_loss(boxes, target) * positive).sum() / count}
