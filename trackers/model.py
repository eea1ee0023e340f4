"""The one-stream tracker: template and search tokens go through one encoder, the search tokens to a head.

`build` is the only way from a specification to a module. Each axis has one dispatch table.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trackablate.trackers.adaptation.adapt import adapt
from trackablate.trackers.adaptation.prompts import NoPrompts
from trackablate.trackers.encoder.backbones import make_backbone, position_grid
from trackablate.trackers.encoder.blocks import TokenLayout, run_block, set_drop_path
from trackablate.trackers.encoder.embeddings import TokenEmbedding, unused_weights
from trackablate.trackers.encoder.sparsity import TEMPLATE_RANGES, eliminating_block, judges, training_ratio
from trackablate.trackers.encoder.timm_vits import ViT, final_norm, plain_blocks, rotations
from trackablate.trackers.plugins import HEADS
from trackablate.trackers.spec import CandidateElimination, TrackerSpec
from trackablate.trackers.tokens import Prediction, SearchTokens
from trackablate.trackers.training.assignment import touched_cells

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


class Normalise(nn.Module):
    """Maps RGB images in 0..255, (B, 3, H, W), to ImageNet's mean 0 and standard deviation 1."""

    def __init__(self) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(IMAGE_MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(IMAGE_STD).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return the normalised image."""
        return (image - self.mean) / self.std


class OneStreamEncoder(nn.Module):
    """A vision transformer over [template tokens | search tokens], with joint or mixed attention.

    Attributes:
        lean: Whether to leave out what nothing reads: the last block's output for the template, and every block's
            output for prompts. The result is the same. Costs are counted with it off, as the papers count them.
        block: Computes one block in training: `run_block`, or the same compiled.
        call: Calls such a function. Where processes divide the parameters among them, it gathers the block's first.
    """

    def __init__(self, vit: ViT, spec: TrackerSpec) -> None:
        super().__init__()
        patch = vit.patch_embed.patch_size[0]
        self.template_side = _tokens_along(spec.crop.template_size, patch, spec.backbone)
        self.search_side = _tokens_along(spec.crop.search_size, patch, spec.backbone)
        self.dim: int = vit.embed_dim
        sides = self.template_side, self.search_side
        self.project: nn.Module = vit.patch_embed.proj
        self.embedding = TokenEmbedding(spec.embedding, position_grid(vit), self.dim, *sides)
        if spec.embedding.keep_unused:
            self.unused = unused_weights(vit)
        self.norm_pre: nn.Module = vit.norm_pre
        self.prompts: Any = NoPrompts()
        self.blocks: nn.Module = plain_blocks(vit)
        self.norm: nn.Module = final_norm(vit)
        self.sparsity, self.mixed, self.checkpointing = spec.sparsity, spec.attention == "mixed", spec.checkpointing
        self.lean = True
        self.block: Callable[..., Tensor] = run_block
        self.call: Callable[..., Any] = _call
        self.rotation: Tensor | None
        sliced = spec.embedding.template_positions == "slice"
        self.register_buffer("rotation", rotations(vit, *sides, sliced=sliced), persistent=False)
        self.judging: Tensor
        if spec.sparsity:
            tokens = TEMPLATE_RANGES[spec.sparsity.template](self.template_side)
            self.register_buffer("judging", torch.tensor(tokens), persistent=False)
        set_drop_path(self.blocks, spec.drop_path, spec.drop_path_depth)
        self._refuse_what_does_not_fit(spec, len(vit.blocks))

    def _refuse_what_does_not_fit(self, spec: TrackerSpec, depth: int) -> None:
        if spec.sparsity and (last := max(spec.sparsity.layers)) >= depth:
            raise ValueError(f"candidate elimination in block {last} of {depth}: the first block is number 0")
        if spec.sparsity and self.rotation is not None:
            raise ValueError(
                f"{spec.backbone} has rotary positions: candidate elimination would misplace what it keeps"
            )

    def forward(self, template: Tensor, search: Tensor, mask: Tensor | None, keep_ratio: float) -> SearchTokens:
        """Return the kept search tokens of normalised images (B, 3, H, W).

        mask: (B, Nz) bool, the template tokens inside the target's box. keep_ratio: the share that candidate
        elimination keeps in each of its blocks.
        """
        z, x = self.embedding(self._patches(template), self._patches(search), mask)
        templates, tokens = z.shape[1], self.norm_pre(torch.cat([z, x], dim=1))
        index = torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1)
        prompts: int = self.prompts.count
        layout = TokenLayout(prompts, prompts + templates, self.mixed, self.rotation)
        blocks = list(self.blocks.children())
        for depth, block in enumerate(blocks):
            tokens, first = self.prompts(depth, tokens), self._first(layout, depth == len(blocks) - 1)
            if self.sparsity and depth in self.sparsity.layers and keep_ratio < 1:
                judging, first = judges(self.sparsity, self.template_side, mask)._replace(tokens=self.judging), 0
                tokens, index = self._run(eliminating_block, block, tokens, index, layout, judging, keep_ratio)
            else:
                tokens = self._run(self.block if self.training else run_block, block, tokens, layout, first)
            tokens = tokens[:, max(0, prompts - first) :]
        return SearchTokens(self.norm(tokens)[:, -index.shape[1] :], index, self.search_side)

    def _first(self, layout: TokenLayout, last: bool) -> int:
        """Return the first token whose output a block must compute.

        Prompts are dropped after each block, and nothing reads the template after the last one.
        """
        if not self.lean:
            return 0
        return layout.leading if last else layout.prompts

    def _run(self, function: Callable[..., Any], block: nn.Module, *arguments: Any) -> Any:
        """Return the function's result, without keeping activations if the specification says so."""
        if self.checkpointing and self.training:
            function = partial(checkpoint, function, use_reentrant=False)
        return self.call(function, block, *arguments)

    def _patches(self, image: Tensor) -> Tensor:
        patches: Tensor = self.project(image)
        return patches.flatten(2).transpose(1, 2)


def _call(function: Callable[..., Any], block: nn.Module, *arguments: Any) -> Any:
    return function(block, *arguments)


def _tokens_along(size: int, patch: int, backbone: str) -> int:
    if size % patch:
        raise ValueError(f"a crop of {size} px is not a multiple of {backbone}'s patch of {patch} px")
    return size // patch


def make_head(spec: TrackerSpec, dim: int, grid: int) -> nn.Module:
    """Return the head of a specification for tokens of width `dim` on a grid x grid search map."""
    kind = HEADS[spec.head.kind]
    head: nn.Module = kind.make(spec.head, dim, grid, labels=spec.labels, denoising=spec.denoising)
    return head


class OneStreamTracker(nn.Module):
    """Encoder and head. Images come as (B, 3, H, W) RGB in 0..255 and are normalised on the device."""

    def __init__(self, spec: TrackerSpec, vit: ViT) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = OneStreamEncoder(vit, spec)
        self.head: Any = make_head(spec, self.encoder.dim, self.encoder.search_side)
        self.normalise = Normalise()

    def forward(
        self,
        template: Tensor,
        search: Tensor,
        mask: Tensor | None = None,
        truth: Tensor | None = None,
        progress: float = 1.0,
    ) -> Prediction | dict[str, Tensor]:
        """Return the loss terms if `truth` is given, else the prediction.

        Both go through forward, because wrappers for several devices only know this method.
        """
        if truth is not None and self.spec.labels != "gaussian":  # the heat map alone may see the uncut box
            truth = truth.clamp(0, 1)
        ratio = self._ratio(progress)
        tokens: SearchTokens = self.encoder(self.normalise(template), self.normalise(search), mask, ratio)
        output = self.head(tokens, truth)
        found: Prediction | dict[str, Tensor] = (
            self.head.predict(output) if truth is None else self.head.losses(output, truth)
        )
        return found

    def loss_divisor(self, truth: Tensor) -> Tensor:
        """Return the scalar that the loss of these pairs is divided by. truth: (B, 4).

        LoRAT divides by the cells that the true boxes touch, eliminated ones included, so that the losses of the parts
        of a batch sum to the batch's loss. The other trackers take means over pairs.
        """
        if self.spec.loss_adds_up:
            return touched_cells(truth, self.encoder.search_side).sum().clamp(min=1).float()
        return truth.new_tensor(float(len(truth)))

    @property
    def parts_are_free(self) -> bool:
        """Whether a batch's loss is the same however it is divided into parts, but for drop path's draws.

        It is not where losses are means over a part's positives, or where batch normalisation sees a part.
        """
        normalised = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.modules())
        return self.spec.loss_adds_up and not normalised

    def _ratio(self, progress: float) -> float:
        sparsity: CandidateElimination | None = self.spec.sparsity
        if sparsity is None:
            return 1.0
        return training_ratio(sparsity, progress) if self.training else sparsity.keep_ratio


def build(spec: TrackerSpec, *, pretrained: bool = True) -> OneStreamTracker:
    """Return the module of a specification, with its adaptation applied and everything frozen that does not train.

    pretrained loads the weights that the specification names.

    Raises:
        ValueError: Sizes do not fit, or timm's model cannot be run.
        UnknownName: The backbone is unknown.
        DataError, FileNotFoundError: The weights cannot be used or are missing.
    """
    vit = make_backbone(spec.backbone, spec.pretrained if pretrained else "none")
    model = OneStreamTracker(spec, vit)
    adapt(model, spec)
    return model
