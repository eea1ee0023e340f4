"""The papers' own tables as studies."""

from ablations.study import STUDIES, Coupled, Row, Study
from trackers.spec import CandidateElimination, DeformableHead, Denoising
from trackers.variants import ostrack

DECODER = {"head": DeformableHead(), "labels": "localisation-quality", "denoising": Denoising()}

DECODER_NEEDS = (
    Coupled("labels", "the decoder is trained with localisation-quality labels, the centre head with a Gaussian map"),
    Coupled("denoising", "denoising queries exist in a decoder only; DETRack trains its decoder with them"),
)

table3 = STUDIES.add(
    "table3",
    Study(
        name="table3",
        title="Sparsity and head (DETRack, Table 3)",
        question="Does a deformable decoder replace the convolutional centre head, with and without candidate elimination?",
        source="DETRack, Table 3",
        baseline=ostrack,
        factors={"Sparsity": "sparsity", "Head": "head"},
        rows=(
            Row("conv", ("none", "centre (conv)")),
            Row("decoder", ("none", "deformable decoder"), DECODER),
            Row("ce-conv", ("CE", "centre (conv)"), {"sparsity": CandidateElimination()}),
            Row("ce-decoder", ("CE", "deformable decoder"), {"sparsity": CandidateElimination(), **DECODER}),
        ),
        coupled=DECODER_NEEDS,
    ),
)
