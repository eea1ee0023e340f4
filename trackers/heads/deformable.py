"""DETRack's decoder as the head (sections 3.2 to 3.6): query selection, deformable layers, shared predictors.

Inside this head boxes are cxcywh in [0, 1] of the search crop, the form in which they are refined.
"""

from dataclasses import dataclass
from math import log, pi
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trackablate.trackers.heads.deformable_attention import DeformableAttention
from trackablate.trackers.spec import DeformableHead, Denoising, Labels
from trackablate.trackers.tokens import Prediction, SearchTokens, cell_centres
from trackablate.trackers.training.assignment import ASSIGN, Assigned, Queries, top_positives
from trackablate.trackers.training.denoising import DenoisingBranch, attention_mask
from trackablate.trackers.training.losses import box_iou, cxcywh_to_xyxy, giou_loss, quality_focal_loss, xyxy_to_cxcywh

PRIOR_SIZE = 0.25
"""Side of the query selection's anchors: the search crop is four times as large as the target (section 4.1)."""
PRIOR_SCORE = 0.01
"""Score of every token before training: the focal loss's prior (Lin et al. 2017, section 4.1)."""
GIOU_WEIGHT, L1_WEIGHT = 2.0, 5.0
"""lambda_G and lambda_l1 of equation 3. lambda_cls and lambda_loc of equation 4 are 1."""
EPS = 1e-5


class Guess(NamedTuple):
    """What the predictors say of each query: logits (..., Q) and boxes (..., Q, 4) cxcywh in [0, 1]."""

    logits: Tensor
    boxes: Tensor


Terms = dict[str, Tensor]
"""The losses of equation 4, scalars: classification (cls), GIoU (giou) and L1 (l1)."""


@dataclass(frozen=True)
class DecoderOutput:
    """The guesses of every stage, and the cells that they belong to.

    Attributes:
        proposals: The query selection's guess for the N kept tokens (l = 0).
        kept: (B, N), the cells of these tokens.
        layers: The decoder layers' guesses, stacked: (L, B, K, ...).
        cells: (B, K), the cells that the queries were selected from.
        denoising: The same stack for the 2 * groups denoising queries, positive and negative in turn. None at inference
            or without denoising.
    """

    proposals: Guess
    kept: Tensor
    layers: Guess
    cells: Tensor
    denoising: Guess | None


def inverse_sigmoid(p: Tensor) -> Tensor:
    """Return the logit, finite on the whole of [0, 1]."""
    return torch.logit(p, eps=EPS)


def box_embedding(boxes: Tensor, width: int) -> Tensor:
    """Return the sine-cosine embedding of boxes (..., 4) cxcywh in [0, 1]: (..., width), a quarter for each number.

    Frequencies are those of DETR: coordinates times 2 pi, temperature 10,000.
    """
    half = width // 8
    frequency = 2 * pi / 10_000 ** (torch.arange(half, device=boxes.device, dtype=torch.float32) / half)
    angle = boxes[..., None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=-1).flatten(-2)


class DecoderLayer(nn.Module):
    """Self-attention, deformable cross-attention and feed-forward, each with a residual sum and a norm (Fig. 4)."""

    def __init__(self, spec: DeformableHead) -> None:
        super().__init__()
        width = spec.width
        self.self_attention = nn.MultiheadAttention(width, spec.heads, batch_first=True)
        self.cross_attention = DeformableAttention(width, spec.heads, spec.points)
        self.feedforward = nn.Sequential(
            nn.Linear(width, spec.feedforward), nn.ReLU(inplace=True), nn.Linear(spec.feedforward, width)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))

    def forward(self, content: Tensor, boxes: Tensor, tokens: SearchTokens, mask: Tensor | None) -> Tensor:
        """Return new content (B, Q, width). The position part of the queries is the embedding of `boxes` (B, Q, 4)."""
        position = box_embedding(boxes, content.shape[-1]).to(content.dtype)
        query = content + position
        attended, _ = self.self_attention(query, query, content, attn_mask=mask, need_weights=False)
        content = self.norms[0](content + attended)
        content = self.norms[1](content + self.cross_attention(content + position, boxes, tokens))
        refined: Tensor = self.norms[2](content + self.feedforward(content))
        return refined


class DeformableDecoder(nn.Module):
    """The head: it selects queries among the tokens and refines them layer by layer.

    The score layer is shared by the query selection and all decoder layers (section 5.1), and so is the box MLP
    (section 4.1) unless the specification gives each its own. All layers run in training, the first `test_layers` at
    inference (None: all).
    """

    anchors: Tensor

    def __init__(
        self,
        spec: DeformableHead,
        dim: int,
        grid: int,
        labels: Labels = "localisation-quality",
        denoising: Denoising | None = None,
    ) -> None:
        super().__init__()
        if spec.width % 8:
            raise ValueError(f"width {spec.width} must be a multiple of 8: a sine and a cosine for each of 4 numbers")
        self.spec, self.grid, self.labels, self.test_layers = spec, grid, labels, spec.test_layers
        self.project = nn.Linear(dim, spec.width)
        self.layers = nn.ModuleList(DecoderLayer(spec) for _ in range(spec.layers))
        self.boxes = nn.ModuleList(_box_mlp(spec.width) for _ in range(1 if spec.shared_box_mlp else 1 + spec.layers))
        self.score = nn.Linear(spec.width, 1)
        centres = cell_centres(grid)
        anchors = torch.cat([centres, torch.full_like(centres, PRIOR_SIZE)], dim=-1)
        self.register_buffer("anchors", anchors, persistent=False)
        self.reset_parameters()
        # last, so that one seed starts the decoder alike with every kind of denoising
        self.denoising = DenoisingBranch(denoising, spec.width) if denoising else None

    def reset_parameters(self) -> None:
        """Draw Xavier weights as in DETR. Boxes start at their references and scores at PRIOR_SCORE."""
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        for module in self.modules():
            if isinstance(module, DeformableAttention):
                module.reset_parameters()
        for mlp in self.boxes:
            last = list(mlp.children())[-1]
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        nn.init.constant_(self.score.bias, log(PRIOR_SCORE / (1 - PRIOR_SCORE)))

    def forward(self, tokens: SearchTokens, truth: Tensor | None = None) -> DecoderOutput:
        """Return the guesses of the query selection and of every layer.

        In training, denoising queries join if `truth` (B, 4) xyxy in [0, 1] is given. Raises ValueError for tokens of
        another grid.
        """
        if tokens.grid != self.grid:
            raise ValueError(f"head built for a {self.grid} x {self.grid} map got tokens of {tokens.grid}")
        memory = SearchTokens(self.project(tokens.features), tokens.index, tokens.grid)
        proposals = self.guess(memory.features, self.anchors[memory.index], stage=0)
        chosen = proposals.logits.topk(min(self.spec.queries, memory.index.shape[1]), dim=1).indices
        content, boxes = _pick(memory.features, chosen), _pick(proposals.boxes, chosen).detach()
        mask = None
        if self.training and self.denoising is not None and truth is not None:
            extra = self.denoising(memory, truth)
            content, boxes = torch.cat([content, extra.content], dim=1), torch.cat([boxes, extra.boxes], dim=1)
            mask = attention_mask(chosen.shape[1], self.denoising.spec.groups, content.device)
        guesses = self.decode(content, boxes, memory, mask)
        queries = chosen.shape[1]
        return DecoderOutput(
            proposals=proposals,
            kept=memory.index,
            layers=Guess(guesses.logits[:, :, :queries], guesses.boxes[:, :, :queries]),
            cells=memory.index.gather(1, chosen),
            denoising=None if mask is None else Guess(guesses.logits[:, :, queries:], guesses.boxes[:, :, queries:]),
        )

    def decode(self, content: Tensor, boxes: Tensor, memory: SearchTokens, mask: Tensor | None) -> Guess:
        """Return the guesses of all active layers, stacked: (L, B, Q) and (L, B, Q, 4).

        Each layer starts from the boxes that the layer before refined, without their gradient, as in Deformable DETR.
        """
        guesses = []
        for stage, layer in enumerate(self.active_layers(), start=1):
            content = layer(content, boxes, memory, mask)
            guesses.append(self.guess(content, boxes, stage))
            boxes = guesses[-1].boxes.detach()
        return Guess(torch.stack([g.logits for g in guesses]), torch.stack([g.boxes for g in guesses]))

    def active_layers(self) -> nn.ModuleList:
        """Return all layers in training, and the first `test_layers` at inference.

        Raises ValueError if there are fewer.
        """
        if self.training or self.test_layers is None:
            return self.layers
        if not 1 <= self.test_layers <= len(self.layers):
            raise ValueError(f"test_layers is {self.test_layers}; this decoder has layers 1 to {len(self.layers)}")
        return self.layers[: self.test_layers]

    def guess(self, content: Tensor, reference: Tensor, stage: int) -> Guess:
        """Return score and refined box, sigmoid(logit(reference) + MLP(content)) (section 3.3), always in float32.

        stage: 0 for the query selection, then the decoder's layers from 1.
        """
        offset = self.boxes[min(stage, len(self.boxes) - 1)](content).float()
        boxes = (inverse_sigmoid(reference.float()) + offset).sigmoid()
        return Guess(self.score(content).squeeze(-1).float(), boxes)

    def losses(self, output: DecoderOutput, truth: Tensor) -> dict[str, Tensor]:
        """Return the weighted terms of equation 4, each summed over the query selection and the layers.

        The paper prints L_cls^DN twice. The second stands beside L_loc, and section 3.6 speaks of the denoising
        branch's localisation, so it is read as L_loc^DN.
        """
        selection = self._stage_terms(output.proposals, output.kept, truth)
        layers = self._stage_terms(output.layers, output.cells, truth)
        terms = _weighted({name: term + layers[name] for name, term in selection.items()})
        if output.denoising is None:
            return terms
        branch = _weighted(_terms(output.denoising, truth, _denoising_labels(output.denoising, truth)))
        return terms | {f"dn_{name}": value for name, value in branch.items()}

    def _stage_terms(self, guess: Guess, cells: Tensor, truth: Tensor) -> Terms:
        queries = Queries(guess.logits, cxcywh_to_xyxy(guess.boxes), cells, self.grid)
        return _terms(guess, truth, ASSIGN[self.labels](queries, truth), self.spec.top_k)

    def predict(self, output: DecoderOutput) -> Prediction:
        """Return the last layer's scores and boxes on the map; score and box are 0 at cells without a query.

        Each query stands at the cell of the token that it was selected from (section 4.1, Testing).
        """
        scores = output.layers.logits[-1].sigmoid()
        boxes = cxcywh_to_xyxy(output.layers.boxes[-1])
        memory = SearchTokens(boxes, output.cells, self.grid)
        return Prediction(memory.dense(scores[..., None])[:, 0], memory.dense().permute(0, 2, 3, 1))


def _pick(values: Tensor, chosen: Tensor) -> Tensor:
    return values.gather(1, chosen[..., None].expand(-1, -1, values.shape[-1]))


def _box_mlp(width: int) -> nn.Sequential:
    """Return a box MLP of three layers (section 4.1)."""
    hidden = [module for _ in range(2) for module in (nn.Linear(width, width), nn.ReLU(inplace=True))]
    return nn.Sequential(*hidden, nn.Linear(width, 4))


def _denoising_labels(guess: Guess, truth: Tensor) -> Assigned:
    """Label every other query positive, with its refined box's IoU as target, and the negatives 0 (section 3.5)."""
    positive = (torch.arange(guess.logits.shape[-1], device=truth.device) % 2 == 0).expand_as(guess.logits)
    return Assigned(positive, box_iou(cxcywh_to_xyxy(guess.boxes.detach()), truth[:, None].float()) * positive)


def _terms(guess: Guess, truth: Tensor, labels: Assigned, top_k: int | None = None) -> Terms:
    """Return the losses of one stage, or the sum over a stack of stages (..., B, Q), against truth (B, 4) xyxy.

    Each stage is divided by its own number of positives. L1 is on cxcywh, summed over the four numbers as in DETR.
    top_k: how many positives of each example learn boxes; None for all.
    """
    boxes, target = cxcywh_to_xyxy(guess.boxes), truth[:, None].float()
    localised = labels.positive if top_k is None else top_positives(guess.logits, labels.positive, top_k)
    l1 = F.l1_loss(guess.boxes, xyxy_to_cxcywh(target).expand_as(guess.boxes), reduction="none").sum(-1)
    return {
        "cls": _per_positive(quality_focal_loss(guess.logits, labels.target), labels.positive),
        "giou": _per_positive(giou_loss(boxes, target) * localised, localised),
        "l1": _per_positive(l1 * localised, localised),
    }


def _per_positive(loss: Tensor, positive: Tensor) -> Tensor:
    return (loss.sum((-2, -1)) / positive.sum((-2, -1)).clamp(min=1)).sum()


def _weighted(terms: Terms) -> Terms:
    return {"cls": terms["cls"], "giou": GIOU_WEIGHT * terms["giou"], "l1": L1_WEIGHT * terms["l1"]}
