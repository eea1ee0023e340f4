"""Candidate elimination: which search tokens go on (OSTrack, section 3.2).

Kept tokens stay in raster order. The official code keeps them in the order of their scores. The sets are the same and,
since attention does not depend on the order, so are the features.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trackablate.trackers.encoder.blocks import TokenLayout, feed_forward, project_out, queries_keys_values
from trackablate.trackers.spec import CandidateElimination


def kept_count(count: int, ratio: float) -> int:
    """Return how many of `count` tokens stay: ceil(ratio * count), at least 1."""
    return max(1, math.ceil(ratio * count))


def training_ratio(spec: CandidateElimination, progress: float) -> float:
    """Return the share kept in training at `progress` in 0..1.

    It is 1 until `start` and falls along a cosine to keep_ratio at `end`. All layers share the value, as in the
    official code, which overrides the layers' own ratios. There `progress` moves once per epoch, here at every step.
    """
    if progress < spec.start:
        return 1.0
    if progress >= spec.end:
        return spec.keep_ratio
    phase = (progress - spec.start) / (spec.end - spec.start)
    return spec.keep_ratio + (1 - spec.keep_ratio) * 0.5 * (1 + math.cos(math.pi * phase))


def template_centre(side: int) -> int:
    """Return the flat index of the template's centre token: 27 for 8 x 8, the upper left of the four middle ones."""
    return (side - 1) // 2 * (side + 1)


def _central_square(side: int) -> list[int]:
    """Return the central 2 x 2 tokens, rows and columns 3:5 of 8 x 8, or the centre alone for an odd side."""
    middle = range((side - 1) // 2, side // 2 + 1)
    return [row * side + column for row in middle for column in middle]


TEMPLATE_RANGES: dict[str, Callable[[int], list[int]]] = {
    "CTR_POINT": lambda side: [template_centre(side)],
    "CTR_REC": _central_square,
    "ALL": lambda side: list(range(side * side)),
    "GT_BOX": lambda side: list(range(side * side)),
}
"""Flat indices of the template tokens whose attention counts, on a side x side template.

GT_BOX uses those of them that lie in the target's box, which differ from example to example.
"""


class Judges(NamedTuple):
    """The template tokens whose attention ranks the search tokens.

    Attributes:
        tokens: Their flat indices. The encoder gives a tensor on its device, since a CUDA graph cannot copy a list to it.
        weights: How much each counts, (B, len(tokens)) with sum 1 in each example, or None if all count the same.
    """

    tokens: list[int] | Tensor
    weights: Tensor | None


def judges(spec: CandidateElimination, side: int, mask: Tensor | None) -> Judges:
    """Return the judges on a template of side x side tokens.

    mask: (B, side * side) bool, the tokens that the target's box touches, as for foreground indication. The official
    code shrinks a mask of pixels instead.
    """
    tokens = TEMPLATE_RANGES[spec.template](side)
    if spec.template != "GT_BOX":
        return Judges(tokens, None)
    if mask is None:
        raise ValueError("candidate elimination by GT_BOX needs the template's mask")
    return Judges(tokens, mask / mask.sum(dim=1, keepdim=True).clamp(min=1))


def eliminating_block(
    block: Any, tokens: Tensor, index: Tensor, layout: TokenLayout, judging: Judges, ratio: float
) -> tuple[Tensor, Tensor]:
    """Run a block that drops search tokens between its attention and its MLP, as OSTrack does.

    For tokens (B, layout.leading + N, D) and their cells `index` (B, N) it returns the same two with kept_count(N, ratio)
    search tokens.
    """
    mixed, scores = attention_with_scores(block.attn, block.norm1(tokens), layout, judging)
    tokens = tokens + block.drop_path1(block.ls1(mixed))
    tokens, index = eliminate(tokens, index, scores, layout.leading, ratio)
    return feed_forward(block, tokens), index


def attention_with_scores(attention: Any, x: Tensor, layout: TokenLayout, judging: Judges) -> tuple[Tensor, Tensor]:
    """Return joint self-attention of x (B, N, D), and how much the judges attend to each search token.

    The scores (B, N - layout.leading) are a softmax over all N tokens, averaged over heads and, by weight, over judges.
    """
    q, k, v = queries_keys_values(attention, x, layout)
    mixed = F.scaled_dot_product_attention(q, k, v)
    with torch.no_grad():
        asked = q[:, :, layout.prompts + torch.as_tensor(judging.tokens, device=q.device)]
        shares = (asked @ k.transpose(-2, -1) * attention.scale).float().softmax(dim=-1)
        attended = shares[..., layout.leading :].mean(dim=1)
        weights = judging.weights
        scores = attended.mean(dim=1) if weights is None else (weights[..., None] * attended).sum(dim=1)
    return project_out(attention, mixed, x), scores


def eliminate(x: Tensor, index: Tensor, scores: Tensor, templates: int, ratio: float) -> tuple[Tensor, Tensor]:
    """Return tokens x (B, templates + N, D) and cells `index` (B, N) without the search tokens of the lowest scores.

    kept_count(N, ratio) search tokens remain, in raster order. scores: (B, N).
    """
    keep = scores.topk(kept_count(scores.shape[1], ratio), dim=1).indices.sort(dim=1).values
    search = x[:, templates:].gather(1, keep[..., None].expand(-1, -1, x.shape[-1]))
    return torch.cat([x[:, :templates], search], dim=1), index.gather(1, keep)
