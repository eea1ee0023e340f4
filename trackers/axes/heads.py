"""The head axis, with the labels and the denoising queries that a head is trained with.

A built-in head is registered at the end of this file, in the way in which a plugin registers its own.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PositiveInt, SerializeAsAny

from trackablate.datasets.registry import unknown
from trackablate.trackers.axes.frozen import Frozen
from trackablate.trackers.axes.scale import Scale
from trackablate.trackers.plugins import HEADS, add_head

Labels = Literal[
    "gaussian", "iou-aware", "hard", "corner", "localisation-quality", "centre", "hungarian", "one-to-many"
]
"""Which cells or queries count as positive in training.

- gaussian: OSTrack's heat map around the centre.
- iou-aware, hard: every cell that the box touches, with the predicted box's IoU or 1 as its target (LoRAT).
- corner: no score is learned (STARK).
- localisation-quality: DETRack, section 3.4. Its rivals in Table 6 are centre, hungarian and one-to-many (hard label).
"""


class HeadSpec(Frozen):
    """The specification of any head. Its class is found by `kind`, a Literal with one value in each subclass."""

    kind: str

    def at_scale(self, scale: Scale) -> Self:
        """Return the head at a profile's scale. A head that has no sizes, or keeps them, is as it is."""
        return self


class _ConvolutionalHead(HeadSpec):
    channels: PositiveInt = 256

    def at_scale(self, scale: Scale) -> Self:
        """See HeadSpec."""
        return self.model_copy(update={"channels": scale.centre_channels})


class CentreHead(_ConvolutionalHead):
    """OSTrack's convolutional centre head: three towers of 3x3 convolutions, each half as wide as the one before.

    Attributes:
        offset_from: What the offset is added to. `index` is the cell's index (OSTrack). `centre` is the cell's centre,
            with the offset in units of the crop and neither score nor size clamped (LoRAT's ostrackhead ablation).
    """

    kind: Literal["centre"] = "centre"
    offset_from: Literal["index", "centre"] = "index"


class ConvHead(_ConvolutionalHead):
    """Two towers of 3x3 convolutions for score and box, anchor-free as LoRAT's MLP head (LoRAT's convhead ablation)."""

    kind: Literal["conv"] = "conv"


class CornerHead(_ConvolutionalHead):
    """STARK's corner head: two towers of 3x3 convolutions. The box's corners are the expectations of two heat maps."""

    kind: Literal["corner"] = "corner"


class MLPHead(HeadSpec):
    """LoRAT's head: two token-wise MLPs of `layers` linear layers, anchor-free (LoRAT, section 3.4)."""

    kind: Literal["mlp"] = "mlp"
    layers: Annotated[int, Field(ge=1)] = 3


class DeformableHead(HeadSpec):
    """DETRack's decoder as the head (sections 3.2 to 3.4 and 4.1).

    The paper states width 256, 3 layers, 64 queries and one box MLP for all layers. It leaves the other fields open:
    `heads` and `points` are those of Deformable DETR, and a `feedforward` of 2048 comes closest, of the usual widths,
    to the 2.0 M parameters that Table 3 puts between the two heads.

    Attributes:
        test_layers: Number of layers that run at inference, counted from the first; None runs all (section 5.1, Table
            4).
        shared_box_mlp: False gives the query selection and every layer a box MLP of their own.
        points: Sampling points of each attention head.
        top_k: Number of tokens inside the true box that get a box loss.
    """

    kind: Literal["deformable"] = "deformable"
    width: PositiveInt = 256
    layers: PositiveInt = 3
    test_layers: PositiveInt | None = None
    shared_box_mlp: bool = True
    queries: PositiveInt = 64
    heads: PositiveInt = 8
    points: PositiveInt = 4
    feedforward: PositiveInt = 2048
    top_k: PositiveInt = 9

    def at_scale(self, scale: Scale) -> Self:
        """See HeadSpec."""
        sizes = ("width", "queries", "heads", "feedforward", "top_k")
        return self.model_copy(update={name: getattr(scale, f"decoder_{name}") for name in sizes})


class Denoising(Frozen):
    """Groups of one positive and one negative query made from the noised true box (DETRack, section 3.5).

    The paper leaves the number of groups and the noise open: the defaults are DN-DETR's usual values.

    Attributes:
        kind: What the content of the positive and the negative query is (Table 5): two learned embeddings; the tokens
            at the true box's centre and at one of its corners; the token at its centre and a random one outside the
            box.
        shift: lambda_1, the largest shift as a share of the box's side. A negative is shifted one to two times as far.
        scale: lambda_2, the largest change of size, likewise.
    """

    kind: Literal["embedding", "centre-corner", "centre-outside"] = "centre-corner"
    groups: PositiveInt = 5
    shift: Annotated[float, Field(gt=0, lt=1)] = 0.4
    scale: Annotated[float, Field(gt=0, lt=1)] = 0.4


def _of_its_kind(value: Any) -> Any:
    kind = str(value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None))
    if kind not in HEADS:
        raise ValueError(f"{unknown('head', kind, HEADS)}; a plugin's head needs its plugin: --plugin FILE")
    return HEADS[kind].spec.model_validate(value)


AnyHead = Annotated[SerializeAsAny[HeadSpec], BeforeValidator(_of_its_kind)]
"""Any registered head, read from a stored document into the class of its kind."""

_ROOM = "trackablate.trackers.heads"
add_head(CentreHead, f"{_ROOM}.convolutional:ConvCentreHead", labels=("gaussian", "hard", "iou-aware"))
add_head(ConvHead, f"{_ROOM}.convolutional:ConvBoxHead", labels=("hard", "iou-aware"))
add_head(CornerHead, f"{_ROOM}.corner:CornerExpectationHead", labels=("corner",))
add_head(MLPHead, f"{_ROOM}.mlp:TokenMLPHead", labels=("iou-aware", "hard"))
add_head(
    DeformableHead,
    f"{_ROOM}.deformable:DeformableDecoder",
    labels=("localisation-quality", "centre", "hungarian", "one-to-many"),
)
