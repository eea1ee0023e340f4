"""LoRAT's tables as studies.

Some published rows change more than the thing that they study. The row here is *as intended* and changes that one
thing; a remark says what else the published row changes.
"""

from functools import partial

from trackablate.ablations.recipes import LORAT_FOUR_SETS, LORAT_ONE_SHOT, LORAT_SETS, Training, lorat_full
from trackablate.ablations.study import RECIPE, Coupled, Row, Study
from trackablate.trackers.lorat_variants import LORAT
from trackablate.trackers.spec import BitFit, FrozenBackbone, LoRA, TrackerSpec, changes_of

LASOT = Training(LORAT_FOUR_SETS.recipe, LORAT_SETS, ("lasot",))
"""The training behind LoRAT's ablations, which are evaluated on LaSOT."""

_study = partial(Study, trainings=(LASOT,), primary_metric="auc")

B_224, L_224 = LORAT["lorat-b-224"], LORAT["lorat-l-224"]
SIZES = {"b": "ViT-B", "l": "ViT-L", "g": "ViT-g"}


def _as(name: str) -> dict[str, object]:
    """Return the changes that turn the baseline into a named variant."""
    return changes_of(LORAT[name], B_224)


DROP_PATH = Coupled("drop_path", "each backbone has its own published drop path: 0 for B, 0.1 for L, 0.4 for g")
LARGE_CROP = "The larger input also sees a larger region: search factor 5 instead of 4, as published."

variants = _study(
    name="lorat-variants",
    title="LoRAT's variants",
    question="What do a larger backbone and a larger input bring, and what do they cost?",
    source="LoRAT, comparison with the state of the art",
    baseline=B_224,
    factors={"Backbone": "backbone", "Input": "crop"},
    rows=tuple(
        Row(f"{size}-{pixels}", (words, str(pixels)), _as(f"lorat-{size}-{pixels}"))
        for size, words in SIZES.items()
        for pixels in (224, 378)
    ),
    coupled=(DROP_PATH,),
    trainings=(LORAT_ONE_SHOT, LORAT_FOUR_SETS),
    cited=("OSTrack-384", "SeqTrack-L384", "ARTrack"),
    remarks=(LARGE_CROP,),
)

FULL_FINE_TUNING_NEEDS = (
    DROP_PATH,
    Coupled(f"{RECIPE}.layer_decay", "full fine-tuning is published with layer-wise decay of the learning rate"),
    Coupled(f"{RECIPE}.clip_norm", "full fine-tuning is published with gradients clipped at 0.1 instead of 1"),
    Coupled(
        "embedding.trainable_positions", "under full fine-tuning the position table trains, as every parameter does"
    ),
)


def _adaptation_rows(pairs: tuple[tuple[str, int], ...]) -> tuple[Row, ...]:
    rows = []
    for size, pixels in pairs:
        words = (SIZES[size], str(pixels))
        rows.append(Row(f"lora-{size}-{pixels}", ("LoRA", *words), _as(f"lorat-{size}-{pixels}")))
        full = _as(f"full-{size}-{pixels}") | {RECIPE: lorat_full(170, size)}
        rows.append(Row(f"full-{size}-{pixels}", ("full fine-tuning", *words), full))
    return tuple(rows)


BY_SIZE = {"Adaptation": "adaptation", "Backbone": "backbone", "Input": "crop"}

adaptation = _study(
    name="lorat-adaptation",
    title="LoRA against full fine-tuning",
    question="Does LoRA reach, or beat, full fine-tuning, at each size?",
    source="LoRAT, LoRA against full fine-tuning",
    baseline=B_224,
    factors=BY_SIZE,
    rows=_adaptation_rows((("b", 224), ("l", 224), ("l", 378))),
    coupled=FULL_FINE_TUNING_NEEDS,
    remarks=(LARGE_CROP,),
)

cost = _study(
    name="lorat-cost",
    title="What LoRA costs and what full fine-tuning costs",
    question="How many GPU-hours and how much memory does LoRA save, at each size?",
    source="LoRAT, abstract and training cost",
    baseline=B_224,
    factors=BY_SIZE,
    rows=_adaptation_rows((("b", 224), ("l", 224), ("g", 224))),
    coupled=FULL_FINE_TUNING_NEEDS,
    remarks=("With few blocks LoRA adds operations and saves little: the saving grows with the backbone.",),
)

peft = _study(
    name="lorat-peft",
    title="Parameter-efficient methods",
    question="Is LoRA the right parameter-efficient method for a one-stream tracker?",
    source="LoRAT, comparison of parameter-efficient methods, and its published settings",
    baseline=B_224,
    factors={"Method": "adaptation"},
    rows=(
        Row("lora", ("LoRA, rank 64",)),
        Row("adapter", ("bottleneck adapter",), _as("lorat-b-224-adapter")),
        Row("ia3", ("IA3",), _as("lorat-b-224-ia3")),
        Row("vpt-5", ("deep prompts, 5",), _as("lorat-b-224-vpt-5")),
        Row("vpt-10", ("deep prompts, 10",), _as("lorat-b-224-vpt-10")),
        Row("bitfit", ("biases only",), {"adaptation": BitFit()}),
        Row("frozen", ("head only",), {"adaptation": FrozenBackbone()}),
    ),
    remarks=(
        "The published adapter starts with both layers at zero, so only a bias ever moves. Here its first layer starts as "
        "usual; `lorat-b-224-adapter-published` is the published one.",
    ),
)


def _lora(name: str, words: str, **changes: object) -> Row:
    changed = LoRA.model_validate(LoRA().model_dump() | changes)
    return Row(name, (words,), {"adaptation": changed} if changes else {})


rank = _study(
    name="lorat-rank",
    title="LoRA's rank",
    question="How much rank does a tracker need?",
    source="LoRAT, published settings r16 and r64; the others are ours",
    baseline=B_224,
    factors={"Rank": "adaptation.rank"},
    rows=(
        _lora("r64", "64"),
        _lora("r4", "4", rank=4, alpha=4),
        _lora("r16", "16", rank=16, alpha=16),
        _lora("r128", "128", rank=128, alpha=128),
    ),
    coupled=(Coupled("adaptation.alpha", "alpha follows the rank, so that LoRA's scaling stays 1"),),
)

targets = _study(
    name="lorat-targets",
    title="Where LoRA is applied",
    question="Which linear layers need LoRA?",
    source="LoRAT, published settings qkvo, qv and mlp at rank 64",
    baseline=B_224,
    factors={"Layers": "adaptation.targets"},
    rows=(
        _lora("all", "q, k, v, proj, fc1, fc2"),
        _lora("qkvo", "q, k, v, proj", targets=("q", "k", "v", "proj")),
        _lora("qv", "q, v", targets=("q", "v")),
        _lora("mlp", "fc1, fc2", targets=("fc1", "fc2")),
    ),
)

init = _study(
    name="lorat-init",
    title="How LoRA starts",
    question="Does it matter that LoRAT's adapted model does not start as the pretrained one?",
    source="LoRAT, published settings init_gaussian and init_kaiming",
    baseline=B_224,
    factors={"Start": "adaptation.init"},
    rows=(
        _lora("lorat", "both normal, std 0.02"),
        _lora("lora", "A Kaiming-uniform, B zero", init="lora"),
        _lora("gaussian", "A normal, B zero", init="gaussian"),
    ),
)

L_378 = LORAT["lorat-l-378"]
FOREGROUND, TEMPLATE_AND_SEARCH = "foreground, background, search", "template, search"


def _embedding(name: str, cells: tuple[str, ...], of: TrackerSpec = L_224, **changes: object) -> Row:
    embedding = of.embedding.model_validate(of.embedding.model_dump() | changes)
    return Row(name, cells, {"embedding": embedding} if changes else {})


embedding = _study(
    name="lorat-embedding",
    title="Input embedding",
    question="What do shared positions, token types and foreground indication each bring?",
    source="LoRAT, input embedding, ViT-L-224",
    baseline=L_224,
    factors={
        "Positions": "embedding.positions",
        "Trained": "embedding.trainable_positions",
        "Token types": "embedding.token_types",
    },
    rows=(
        _embedding("foreground", ("shared", "no", FOREGROUND)),
        _embedding("types", ("shared", "no", TEMPLATE_AND_SEARCH), token_types=2),
        _embedding("types-trainable", ("shared", "yes", TEMPLATE_AND_SEARCH), token_types=2, trainable_positions=True),
        _embedding("shared", ("shared", "no", "none"), token_types=0),
        _embedding(
            "separate-trainable",
            ("separate", "yes", "none"),
            positions="separate",
            template_positions="interpolate",
            token_types=0,
            trainable_positions=True,
        ),
    ),
    coupled=(
        Coupled(
            "embedding.template_positions",
            "a separate table is resized for the template; only a shared one can be sliced",
        ),
    ),
    remarks=(
        "Two of the published settings crash, and two name a model type that does not exist: the rows are as intended.",
    ),
)

foreground = _study(
    name="lorat-foreground",
    title="Foreground indication at the larger input",
    question="Does it help to tell the tracker which of the template's tokens are the target?",
    source="LoRAT, foreground indication on L-378",
    baseline=L_378,
    factors={"Token types": "embedding.token_types"},
    rows=(
        _embedding("foreground", (FOREGROUND,), L_378),
        _embedding("types", (TEMPLATE_AND_SEARCH,), L_378, token_types=2),
    ),
)

FULL_224 = LORAT["full-b-224"]


def _positions(name: str, cells: tuple[str, ...], positions: str) -> Row:
    changes = {"positions": positions, "template_positions": "interpolate"}
    return Row(name, cells, {"embedding": FULL_224.embedding.model_copy(update=changes)})


positions = _study(
    name="lorat-positions",
    title="Where the template's positions come from",
    question="Slicing, interpolation, a table of its own, or fixed sine and cosine?",
    source="LoRAT, multi-resolution positions, and its published settings for full fine-tuning",
    baseline=FULL_224,
    factors={"Positions": "embedding.positions", "Template's": "embedding.template_positions"},
    rows=(
        Row("slice", ("shared", "sliced")),
        _positions("interpolate", ("shared", "interpolated"), "shared"),
        _positions("separate", ("separate", "interpolated"), "separate"),
        _positions("sinusoidal", ("sinusoidal", "its own grid"), "sinusoidal"),
    ),
    trainings=(Training(lorat_full(170, "b", clip_norm=1.0), LORAT_SETS, ("lasot",)),),
    remarks=(
        "Under full fine-tuning, as published: with frozen tables, interpolation and a separate table would be the same "
        "tracker.",
        "Token types and foreground indication stay in every row; LoRAT's own position ablation has none.",
    ),
)

head = _study(
    name="lorat-head",
    title="Head under LoRA",
    question="Does a convolutional head hold parameter-efficient training back?",
    source="LoRAT, head ablation",
    baseline=B_224,
    factors={"Head": "head"},
    rows=(
        Row("mlp", ("MLP",)),
        Row("conv", ("convolutional",), _as("lorat-b-224-conv")),
        Row("ostrack", ("centre (OSTrack)",), _as("lorat-b-224-ostrackhead")),
    ),
    remarks=(
        "As published, both convolutional rows change three things: the head, the score targets (hard instead of "
        "IoU-aware), and a final norm that trains. Here they change the head alone. The published rows are "
        "`lorat-b-224-conv-published` and `lorat-b-224-ostrackhead-published`.",
    ),
)
