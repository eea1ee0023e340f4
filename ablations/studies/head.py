"""The head study: three heads on one encoder, each trained with its own paper's labels.

Every `Study` of a module in this folder is found by its name.
"""

from trackablate.ablations.recipes import OSTRACK_ONE_SHOT, ostrack
from trackablate.ablations.studies.detrack import CHOSEN, DECODER, DECODER_NEEDS, LONGER_CONVOLUTION, SILENT
from trackablate.ablations.study import Coupled, Row, Study
from trackablate.trackers.spec import MLPHead
from trackablate.trackers.variants import ostrack as ostrack_plain

head = Study(
    name="head",
    title="Head: MLP, convolution or decoder",
    question="Which head localises best on the same encoder, and what does it cost?",
    source="LoRAT, section 3.4, against OSTrack and DETRack",
    baseline=ostrack_plain,
    factors={"Head": "head"},
    rows=(
        Row("centre", ("centre (conv, OSTrack)",)),  # replaces nothing: the baseline
        Row("mlp", ("MLP (LoRAT)",), {"head": MLPHead(), "labels": "iou-aware"}),
        # DECODER replaces head, labels and denoising; DECODER_NEEDS says why the last two change with the head. The
        # paper trains it for 20 epochs, and the others for 100 (LONGER_CONVOLUTION).
        Row("decoder", ("deformable decoder (DETRack)",), DECODER, published=(ostrack(20),)),
    ),
    coupled=(
        Coupled(
            "labels",
            "each head is trained with its own paper's labels: the centre head with a Gaussian map, the MLP head with"
            " LoRAT's IoU-aware ones, the decoder with localisation-quality ones",
        ),
        *(coupled for coupled in DECODER_NEEDS if coupled.field != "labels"),
        LONGER_CONVOLUTION,
    ),
    trainings=(OSTRACK_ONE_SHOT,),
    remarks=("At the paper's scale the MLP head trains like the convolutional one, by OSTrack's recipe.", CHOSEN),
    silent=SILENT,  # fields that DETRack's paper leaves open, and what was chosen
)
