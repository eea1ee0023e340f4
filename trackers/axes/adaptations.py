"""The adaptation axis: how the pretrained encoder is trained. Their modules are in `trackers/adaptation/`."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt

from trackablate.trackers.axes.frozen import Frozen
from trackablate.trackers.axes.scale import Scale


class AdaptationSpec(Frozen):
    """The specification of any adaptation method."""

    def at_scale(self, scale: Scale) -> Self:
        """Return the method at a profile's scale. A method that has no sizes, or keeps them, is as it is."""
        return self


class FullFineTuning(AdaptationSpec):
    """Every parameter of the encoder trains."""

    kind: Literal["full"] = "full"


class FrozenBackbone(AdaptationSpec):
    """No parameter of the encoder trains, only the head."""

    kind: Literal["frozen"] = "frozen"


class BitFit(AdaptationSpec):
    """Only the encoder's biases train."""

    kind: Literal["bitfit"] = "bitfit"


LoRATarget = Literal["q", "k", "v", "proj", "fc1", "fc2"]


class LoRA(AdaptationSpec):
    """Low-rank adaptation of the blocks' linear layers; q, k and v are adapted separately (LoRAT, section 3.3).

    Attributes:
        init: `lorat` draws both factors from a normal with std 0.02, as published, so the adapted model does not start
            as the pretrained one. `lora` draws A Kaiming-uniform and `gaussian` draws A from a normal with std 1/rank;
            both start B at zero.
        rslora: Scale by alpha / sqrt(rank) instead of alpha / rank.
        dora: Train a magnitude for each output as well.
    """

    kind: Literal["lora"] = "lora"
    rank: PositiveInt = 64
    alpha: PositiveInt = 64
    targets: tuple[LoRATarget, ...] = ("q", "k", "v", "proj", "fc1", "fc2")
    init: Literal["lorat", "lora", "gaussian"] = "lorat"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    rslora: bool = False
    dora: bool = False

    def at_scale(self, scale: Scale) -> Self:
        """See AdaptationSpec."""
        return self.model_copy(update={"rank": scale.of_rank(self.rank), "alpha": scale.of_rank(self.alpha)})


class Adapter(AdaptationSpec):
    """A bottleneck of `width` with GELU after every block's attention branch, added to the branch's result.

    Attributes:
        init: `identity` starts the second layer at zero. `zero`, LoRAT's published ablation, starts both layers at
            zero; then only the second layer's bias ever moves.
    """

    kind: Literal["adapter"] = "adapter"
    width: PositiveInt = 96
    init: Literal["identity", "zero"] = "identity"

    def at_scale(self, scale: Scale) -> Self:
        """See AdaptationSpec."""
        return self.model_copy(update={"width": scale.of_rank(self.width)})


class IA3(AdaptationSpec):
    """Vectors, started at one, that scale k, v and the input of the MLP's second layer."""

    kind: Literal["ia3"] = "ia3"


class Prompts(AdaptationSpec):
    """Deep visual prompts: `count` new trained tokens before every block's input, dropped after the block."""

    kind: Literal["prompts"] = "prompts"
    count: PositiveInt = 10


Adaptation = Annotated[
    FullFineTuning | FrozenBackbone | BitFit | LoRA | Adapter | IA3 | Prompts, Field(discriminator="kind")
]
