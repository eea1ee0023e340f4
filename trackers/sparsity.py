"""Candidate elimination: which search tokens go on (OSTrack, section 3.2)."""

import math

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Attention
from torch import Tensor

from trackers.spec import CandidateElimination


def kept(count: int, ratio: float) -> int:
    """How many of `count` tokens stay: ceil(ratio * count), at least 1."""
    return max(1, math.ceil(ratio * count))


def training_ratio(spec: CandidateElimination, progress: float) -> float:
    """The share kept in training at `progress` in 0..1: 1 until `start`, then a cosine down to keep_ratio at `end`."""
    if progress < spec.start:
        return 1.0
    if progress >= spec.end:
        return spec.keep_ratio
    phase = (progress - spec.start) / (spec.end - spec.start)
    return spec.keep_ratio + (1 - spec.keep_ratio) * 0.5 * (1 + math.cos(math.pi * phase))


def template_centre(side: int) -> int:
    """Flat index of the template's centre token, the upper left of the four for an even side: 27 for 8 x 8."""
    return (side - 1) // 2 * (side + 1)


def attention_with_scores(attention: Attention, x: Tensor, query: int, first_search: int) -> tuple[Tensor, Tensor]:
    """timm's attention of x (B, N, D), and how much its token `query` attends to each token from `first_search` on:
    (B, N - first_search), the softmax over all N tokens averaged over the heads."""
    batch, count, _ = x.shape
    qkv = attention.qkv(x).reshape(batch, count, 3, attention.num_heads, attention.head_dim).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)
    q, k = attention.q_norm(q), attention.k_norm(k)
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, count, -1)
    with torch.no_grad():
        logits = q[:, :, query : query + 1] @ k.transpose(-2, -1) * attention.scale
        scores = logits.float().softmax(dim=-1).mean(dim=1)[:, 0, first_search:]
    return attention.proj_drop(attention.proj(attention.norm(mixed))), scores


def eliminate(x: Tensor, index: Tensor, scores: Tensor, templates: int, ratio: float) -> tuple[Tensor, Tensor]:
    """Drop the search tokens that score least. x: (B, templates + N, D); index: (B, N) their places on the map;
    scores: (B, N). Returns the same two with kept(N, ratio) search tokens, which stay in raster order."""
    keep = scores.topk(kept(scores.shape[1], ratio), dim=1).indices.sort(dim=1).values
    search = x[:, templates:].gather(1, keep[..., None].expand(-1, -1, x.shape[-1]))
    return torch.cat([x[:, :templates], search], dim=1), index.gather(1, keep)
