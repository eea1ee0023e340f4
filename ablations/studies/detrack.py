"""DETRack's own tables and figures as studies."""

from functools import partial

from trackablate.ablations.recipes import DETRACK_ONE_SHOT, FOUR_SETS, OSTRACK_ONE_SHOT, Training, ostrack
from trackablate.ablations.study import RECIPE, Coupled, Row, Study
from trackablate.trackers.spec import CandidateElimination, DeformableHead, Denoising
from trackablate.trackers.variants import detrack_ce, ostrack_ce
from trackablate.trackers.variants import ostrack as ostrack_plain

DECODER = {"head": DeformableHead(), "labels": "localisation-quality", "denoising": Denoising()}

DECODER_NEEDS = (
    Coupled("labels", "the decoder is trained with localisation-quality labels, the centre head with a Gaussian map"),
    Coupled("denoising", "denoising queries exist in a decoder only; DETRack trains its decoder with them"),
)

CAE = (
    "The paper starts from CAE's weights, which timm does not have: the encoder here starts from MAE's, unless the "
    "profile names another file."
)
CAE_OR_MAE = f"{CAE[:-1]}, or trackablate.toml names CAE's: [weights] cae-b16."

WARM_UP = (
    "Candidate elimination starts and is complete at OSTrack's shares of each training: epochs 20 and 100 of 300 for the "
    "large training sets, 20 and 70 of 100 for GOT-10k. Profiles with a recipe of their own take the former."
)

GFLOPS = (
    "The printed GFLOPs of DETRack, 15.6, and of the convolutional row, 16.4 (also those of Tables 3 and 4), leave out "
    "the projections to q, k and v, as a counter of modules does where these are function calls. OSTrack's "
    "21.5 counts them: without them it is 16.4. None counts attention's own products."
)

SILENT: dict[str, str] = {
    "head.heads": "8 attention heads, as Deformable DETR",
    "head.points": "4 sampling points, as Deformable DETR",
    "head.feedforward": "a feed-forward width of 2048, nearest to Table 3's parameters",
    "head.top_k": "boxes are learned at the 9 best positives",
    "denoising.groups": "5 denoising groups, as DN-DETR",
    "denoising.shift": "noise up to 0.4 of the box's sides, as DN-DETR",
    "denoising.scale": "noise up to 0.4 of the box's size, as DN-DETR",
    "recipe.clip_norm": "gradients clipped at 0.1, as OSTrack",
    "drop_path": "drop path 0.1, as OSTrack",
    "recipe.augmentation": "OSTrack's augmentation and jitter",
    "sparsity.start": "elimination begins at OSTrack's share of the training, also in 20 epochs",
    "sparsity.end": "elimination is complete at OSTrack's share of the training, also in 20 epochs",
}
"""What DETRack leaves open, by the field that it concerns, and what was chosen."""

CHOSEN = (
    f"The paper leaves some settings open, which are chosen here. They are: {'; '.join(SILENT.values())}; the label "
    "`centre` is 1 at the query nearest to the true centre, without a Gaussian; boxes pass from layer to layer without "
    "their gradient, the queries' content with it."
)

LARGE_300 = Training(ostrack(300), FOUR_SETS, ("trackingnet", "lasot"))
DETRACK_EPOCHS = (ostrack(20), ostrack(60))

_study = partial(Study, silent=SILENT)
_comparison = partial(_study, baseline=ostrack_ce, factors={"Head": "head", "Epochs": RECIPE}, coupled=DECODER_NEEDS)
"""OSTrack and DETRack, each with its own head and length of training."""

TABLE_1_CITED = (
    *("OSTrack", "AiATrack", "SimTrack", "Unicorn", "MixFormer", "ToMP", "CSWinTT", "STARK", "KeepTrack", "AutoMatch"),
    *("TransT", "Alpha-Refine", "TMT", "Ocean", "DiMP", "ATOM", "SiamRPN++"),
)

table1 = _comparison(
    name="table1",
    title="Comparison with the state of the art (DETRack, Table 1)",
    question="Does the decoder reach the convolutional head's accuracy in a fifth of its training, and beat what was"
    " published before?",
    source="DETRack, Table 1",
    rows=(
        Row("ostrack", ("centre (conv)", "100 / 300")),
        Row("detrack", ("deformable decoder", "20 / 60"), {**DECODER, RECIPE: DETRACK_EPOCHS}),
    ),
    trainings=(OSTRACK_ONE_SHOT, LARGE_300),
    primary_metric="auc",
    cited=TABLE_1_CITED,
    remarks=(
        CAE,
        WARM_UP,
        "Epochs: for GOT-10k / for the other benchmarks. Other profiles keep this proportion.",
        GFLOPS,
        CHOSEN,
    ),
)

table2 = _comparison(
    name="table2",
    title="NFS and UAV123 (DETRack, Table 2)",
    question="Does the comparison hold on two small benchmarks that nobody trains for?",
    source="DETRack, Table 2",
    rows=(
        Row("ostrack", ("centre (conv)", "300")),
        Row("detrack", ("deformable decoder", "60"), {**DECODER, RECIPE: ostrack(60)}),
    ),
    trainings=(Training(ostrack(300), FOUR_SETS, ("nfs", "uav123")),),
    primary_metric="auc",
    cited=("SiamRPN++", "ATOM", "DiMP", "TransT", "TMT", "STARK", "ToMP", "OSTrack"),
    remarks=(CAE, CHOSEN),
)

LONGER_CONVOLUTION = Coupled(  # profiles with a recipe of their own train all rows alike
    f"{RECIPE}.steps",
    "the decoder trains for 20 epochs and the convolutional tracker for 100 (section 4.2)",
)

table3 = _study(
    name="table3",
    title="Sparsity and head (DETRack, Table 3)",
    question="Does a deformable decoder replace the convolutional centre head, with and without candidate elimination?",
    source="DETRack, Table 3",
    baseline=ostrack_plain,
    factors={"Sparsity": "sparsity", "Head": "head"},
    rows=(
        Row("conv", ("none", "centre (conv)")),
        Row("decoder", ("none", "deformable decoder"), DECODER, published=(ostrack(20),)),
        Row("ce-conv", ("CE", "centre (conv)"), {"sparsity": CandidateElimination()}),
        Row(
            "ce-decoder",
            ("CE", "deformable decoder"),
            {"sparsity": CandidateElimination(), **DECODER},
            published=(ostrack(20),),
        ),
    ),
    coupled=(*DECODER_NEEDS, LONGER_CONVOLUTION),
    trainings=(OSTRACK_ONE_SHOT,),
    remarks=(CAE_OR_MAE, CHOSEN),
    starts_from="cae-b16",
)


def _layers(trained: int, tested: int) -> Row:
    head = DeformableHead(layers=trained, test_layers=None if tested == trained else tested)
    name, cells = f"train-{trained}-test-{tested}", (str(trained), str(tested))
    return Row(name, cells, {} if head == DeformableHead() else {"head": head})


table4 = _study(
    name="table4",
    title="Decoder layers in training and in testing (DETRack, Table 4)",
    question="How many decoder layers are worth their cost, and can a trained decoder be run with fewer?",
    source="DETRack, Table 4",
    baseline=detrack_ce,
    factors={"Trained": "head.layers", "Tested": "head.test_layers"},
    rows=tuple(_layers(trained, tested) for trained in (3, 2, 4) for tested in range(trained, 0, -1)),
    trainings=(DETRACK_ONE_SHOT,),
    remarks=(
        "Rows with the same number of trained layers are one training, run with its first layers alone.",
        CAE_OR_MAE,
        CHOSEN,
    ),
    starts_from="cae-b16",
)

table5 = _study(
    name="table5",
    title="Denoising (DETRack, Table 5)",
    question="What should the queries of the denoising branch be made of?",
    source="DETRack, Table 5",
    baseline=detrack_ce.model_copy(update={"denoising": None}),
    factors={"Denoising": "denoising"},
    rows=(
        Row("none", ("none",)),
        Row("embedding", ("embedding / embedding",), {"denoising": Denoising(kind="embedding")}),
        Row("corner", ("centre / corner",), {"denoising": Denoising(kind="centre-corner")}),
        Row("outside", ("centre / outside",), {"denoising": Denoising(kind="centre-outside")}),
    ),
    trainings=(DETRACK_ONE_SHOT,),
    remarks=(CAE_OR_MAE, CHOSEN),
    starts_from="cae-b16",
)

LABELS = {
    "quality": ("localisation quality", "localisation-quality"),
    "centre": ("centre", "centre"),
    "hungarian": ("Hungarian", "hungarian"),
    "hard": ("hard label", "one-to-many"),
}
LENGTHS = {20: 60, 50: 100, 100: 300}
"""Epochs for GOT-10k to epochs for LaSOT, paired as in the table's columns."""


def _assignment(label: str, epochs: int) -> Row:
    words, labels = LABELS[label]
    changes: dict[str, object] = {} if labels == detrack_ce.labels else {"labels": labels}
    changes |= {} if epochs == 20 else {RECIPE: (ostrack(epochs), ostrack(LENGTHS[epochs]))}
    return Row(f"{label}-{epochs}", (words, f"{epochs} / {LENGTHS[epochs]}"), changes)


table6 = _study(
    name="table6",
    title="Label assignment and length of training (DETRack, Table 6)",
    question="Which label assignment converges fast, and which reaches the highest accuracy?",
    source="DETRack, Table 6",
    baseline=detrack_ce,
    factors={"Labels": "labels", "Epochs": RECIPE},
    rows=tuple(_assignment(label, epochs) for label in LABELS for epochs in LENGTHS),
    trainings=(DETRACK_ONE_SHOT, Training(ostrack(60), FOUR_SETS, ("lasot",))),
    remarks=(CAE_OR_MAE, "Epochs: for GOT-10k / for LaSOT. Other profiles keep this proportion.", CHOSEN),
    starts_from="cae-b16",
)

_CONVERGENCE = (
    Row("ostrack", ("centre (conv)", "100")),
    Row("detrack", ("deformable decoder", "20"), {**DECODER, RECIPE: ostrack(20)}),
)

figure1 = _comparison(
    name="figure1",
    title="Accuracy, epochs and GFLOPs (DETRack, Figure 1)",
    question="Which tracker has the best trade-off of accuracy, training length and running cost?",
    source="DETRack, Figure 1; its numbers are Table 1's",
    rows=_CONVERGENCE,
    trainings=(OSTRACK_ONE_SHOT,),
    cited=("OSTrack", "AiATrack", "SimTrack", "MixFormer", "CSWinTT", "STARK", "Ocean"),
    remarks=(CAE, WARM_UP, GFLOPS, CHOSEN),
)

figure5 = _comparison(
    name="figure5",
    title="Convergence (DETRack, Figure 5)",
    question="How fast does the overlap on training-like pairs grow, head by head?",
    source="DETRack, Figure 5 and section 5.4",
    rows=_CONVERGENCE,
    trainings=(OSTRACK_ONE_SHOT,),
    remarks=(
        CAE,
        WARM_UP,
        "The paper draws the IoU on training pairs; here it is the IoU on held-out pairs, step by step.",
        CHOSEN,
    ),
)
