"""The one-stream tracker: template and search tokens through one encoder, the search tokens to a head.

`build` is the only way from a specification to a module: one dispatch table per axis.
"""

from collections.abc import Callable
from typing import Any

import torch
from timm.models.vision_transformer import Attention, Block, VisionTransformer
from torch import Tensor, nn

from trackers.adaptation import adapt
from trackers.backbones import BACKBONES, load_pretrained, position_grid
from trackers.conv_head import ConvCentreHead
from trackers.deformable_head import DeformableDecoder
from trackers.embeddings import TokenEmbedding
from trackers.mlp_head import TokenMLPHead
from trackers.pretrained import FILES, weights_digest
from trackers.sparsity import attention_with_scores, eliminate, template_centre, training_ratio
from trackers.spec import CandidateElimination, TrackerSpec
from trackers.tokens import Prediction, SearchTokens

HEADS: dict[str, Callable[..., nn.Module]] = {
    "centre": ConvCentreHead,
    "mlp": TokenMLPHead,
    "deformable": DeformableDecoder,
}

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


class Normalise(nn.Module):
    """RGB images 0..255, (B, 3, H, W), to ImageNet's mean 0 and deviation 1."""

    def __init__(self) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(IMAGE_MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(IMAGE_STD).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """The normalised image."""
        return (image - self.mean) / self.std


class OneStreamEncoder(nn.Module):
    """A ViT over [template tokens | search tokens] with full joint attention."""

    def __init__(self, vit: VisionTransformer, spec: TrackerSpec) -> None:
        super().__init__()
        patch = vit.patch_embed.patch_size[0]
        self.template_side = _tokens_along(spec.crop.template_size, patch, spec.backbone)
        self.search_side = _tokens_along(spec.crop.search_size, patch, spec.backbone)
        self.project: nn.Module = vit.patch_embed.proj
        self.embedding = TokenEmbedding(spec.embedding, position_grid(vit), self.template_side, self.search_side)
        self.blocks: nn.Sequential = vit.blocks
        self.norm: nn.Module = vit.norm
        self.sparsity = spec.sparsity
        self.dim: int = vit.embed_dim
        if spec.sparsity and max(spec.sparsity.layers) >= len(vit.blocks):
            raise ValueError(f"elimination in block {max(spec.sparsity.layers)} of {len(vit.blocks)} (0-based)")

    def forward(self, template: Tensor, search: Tensor, mask: Tensor | None, keep_ratio: float) -> SearchTokens:
        """template, search: (B, 3, H, W) normalised. mask: (B, Nz) bool or None. keep_ratio: of candidate elimination."""
        z, x = self.embedding(self._patches(template), self._patches(search), mask)
        templates, tokens = z.shape[1], torch.cat([z, x], dim=1)
        index = torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1)
        for depth, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            if self.sparsity and depth in self.sparsity.layers and keep_ratio < 1:
                tokens, index = self._eliminating(block, tokens, index, templates, keep_ratio)
            else:
                tokens = block(tokens)
        return SearchTokens(self.norm(tokens)[:, templates:], index, self.search_side)

    def _patches(self, image: Tensor) -> Tensor:
        patches: Tensor = self.project(image)
        return patches.flatten(2).transpose(1, 2)

    def _eliminating(
        self, block: Block, tokens: Tensor, index: Tensor, templates: int, ratio: float
    ) -> tuple[Tensor, Tensor]:
        """A block that drops tokens between its attention and its MLP, as OSTrack does."""
        assert isinstance(block.attn, Attention)
        centre = template_centre(self.template_side)
        mixed, scores = attention_with_scores(block.attn, block.norm1(tokens), centre, templates)
        tokens = tokens + block.drop_path1(block.ls1(mixed))
        tokens, index = eliminate(tokens, index, scores, templates, ratio)
        return tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens)))), index


def _tokens_along(size: int, patch: int, backbone: str) -> int:
    if size % patch:
        raise ValueError(f"a crop of {size} px is no multiple of {backbone}'s patch of {patch} px")
    return size // patch


class OneStreamTracker(nn.Module):
    """Encoder and head. Images come as (B, 3, H, W) RGB, 0..255, and are normalised here, on the device."""

    def __init__(self, spec: TrackerSpec, vit: VisionTransformer) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = OneStreamEncoder(vit, spec)
        self.head: Any = HEADS[spec.head.kind](spec.head, self.encoder.dim, self.encoder.search_side, spec.denoising)
        self.normalise = Normalise()

    def forward(
        self,
        template: Tensor,
        search: Tensor,
        mask: Tensor | None = None,
        truth: Tensor | None = None,
        progress: float = 1.0,
    ) -> Prediction | dict[str, Tensor]:
        """With `truth` the loss terms (so that wrappers for several devices see one forward), else the prediction."""
        tokens = self._encode(template, search, mask, self._ratio(progress))
        output = self.head(tokens, truth)
        found: Prediction | dict[str, Tensor] = (
            self.head.predict(output) if truth is None else self.head.losses(output, truth)
        )
        return found

    def _ratio(self, progress: float) -> float:
        sparsity: CandidateElimination | None = self.spec.sparsity
        if sparsity is None:
            return 1.0
        return training_ratio(sparsity, progress) if self.training else sparsity.keep_ratio

    def _encode(self, template: Tensor, search: Tensor, mask: Tensor | None, ratio: float) -> SearchTokens:
        tokens: SearchTokens = self.encoder(self.normalise(template), self.normalise(search), mask, ratio)
        return tokens


def build(spec: TrackerSpec, *, pretrained: bool = True) -> OneStreamTracker:
    """The module of a specification, adapted and with everything frozen that its adaptation freezes.

    pretrained loads the backbone's shipped weights, where the project ships any. Raises ValueError where sizes do not
    fit, UnknownName for an unknown backbone, FileNotFoundError for missing weights.
    """
    vit = BACKBONES[spec.backbone]()
    if pretrained and weights_digest(spec.backbone) is not None:
        load_pretrained(vit, FILES[spec.backbone])
    model = OneStreamTracker(spec, vit)
    adapt(model, spec)
    return model
