"""The commands on runs of a store: evaluate one, track with it, a site of all, weights and boxes in and out, its format."""

from pathlib import Path
from typing import Annotated, Any

import typer

from trackablate.harness.cli.options import (
    AnyRun,
    Data,
    Device,
    GpusPerRun,
    Json,
    Precisions,
    RunName,
    StorePath,
    TestLayers,
    TrackingPrecision,
    Truncate,
    Version,
    answers,
    can_report,
    exit_status,
    writable,
)
from trackablate.harness.errors import BadInput

store_app = typer.Typer(help="Look for damage in a store, or bring an old one up to date.", no_args_is_help=True)


@answers
def evaluate(
    run: AnyRun,
    protocol: Annotated[str, typer.Option("--protocol", help="as `list protocols` shows them")],
    data: Data = None,
    device: Device = "auto",
    gpus_per_run: GpusPerRun = 1,
    precision: TrackingPrecision = Precisions.fp32,
    store: StorePath = Path("store"),
    again: Annotated[
        bool, typer.Option("--again", help="track every sequence anew; former results are kept aside")
    ] = False,
    save_video: Annotated[
        list[str] | None,
        typer.Option("--save-video", metavar="SEQUENCE", help="draw its boxes and the true ones into video/; repeat"),
    ] = None,
    json: Json = False,
) -> dict[str, Any]:
    """Evaluate a stored run on one protocol.

    Example: python -m harness evaluate ncc --protocol synthetic
    """
    from trackablate.harness.cli.pieces import EvaluateRequest, evaluate_run
    from trackablate.harness.running.tasks import Execution
    from trackablate.harness.spec import Evaluation

    wanted = Evaluation(protocol=protocol, data="", precision=precision.value)
    how = Execution(gpus_per_run=gpus_per_run, again=again)
    return evaluate_run(EvaluateRequest(run, wanted, data or [], store, device, how, save_video or []))


def track(
    run: AnyRun,
    video: Annotated[Path, typer.Argument(help="a folder of images, a video file, or a camera's number: 0")],
    init: Annotated[str, typer.Option("--init", help="the target in the first frame: x,y,w,h in pixels")],
    with_: Annotated[
        list[str] | None, typer.Option("--with", help="[NAME=]RUN: one more run on the same target; repeat")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="draw the boxes into this video (.mp4, .mov, .mkv, .avi) or folder of images")
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="draw the boxes in a window; closing it ends the command")
    ] = False,
    device: Device = "auto",
    precision: TrackingPrecision = Precisions.fp32,
    store: StorePath = Path("store"),
    json: Json = False,
) -> None:
    """Track one target with a stored run; a box x,y,w,h per line. The boxes of --with are in the picture and in --json.

    Example: python -m harness track ncc clip.mp4 --init 50,46,25,62 --out tracked.mp4
    """
    with exit_status():
        from trackablate.harness.cli.pieces import TrackRequest, track_video
        from trackablate.harness.cli.terminal import say_boxes, say_json

        asked = TrackRequest([run, *(with_ or ())], video, init, store, device, precision.value, out, show)
        boxes, *others = track_video(asked).items()
        beside = {"with": dict(others)} if others else {}
        say_json({"boxes": boxes[1], **beside}) if json else say_boxes(boxes[1])


@answers
def site(
    store: StorePath = Path("store"),
    out: Annotated[Path, typer.Option(help="the folder to write")] = Path("site"),
    study: Annotated[
        list[str] | None, typer.Option("--study", help="these studies alone, by name or TOML file; repeat")
    ] = None,
    profile: Annotated[
        list[str] | None, typer.Option("--profile", help="at these profiles alone, by name or TOML file; repeat")
    ] = None,
    json: Json = False,
) -> dict[str, Any]:
    """Write a page for every study in the store, and an index of all.

    Example: python -m harness site --out site
    """
    from trackablate.ablations.catalogue import STUDIES, named_study
    from trackablate.harness.profiles import load_profile
    from trackablate.harness.store import Store

    wanted = [named_study(name) for name in study or STUDIES]
    sizes = [load_profile(name).name for name in profile or []]
    opened = Store(store, make=False)
    if not opened.exists:
        raise BadInput(
            f"there is no store at {opened.root}: name it with --store, or `python -m harness run table3` first"
        )
    can_report(out)
    from trackablate.reports.pages.site import write_site

    index, *pages = map(str, write_site(opened, out, wanted, sizes))
    return {"index": index, "pages": pages}


@answers
def submit(
    run: RunName,
    protocol: Annotated[str, typer.Option("--protocol", help="got10k or trackingnet")],
    data: Version = None,
    store: StorePath = Path("store"),
    out: Annotated[Path | None, typer.Option(help="the archive to write; default: submission/PROTOCOL-RUN.zip")] = None,
    test_layers: TestLayers = None,
    truncate: Truncate = False,
    json: Json = False,
) -> dict[str, Any]:
    """Make the evaluation server's archive of a stored run, checked.

    Example: python -m harness submit ncc --protocol got10k
    """
    from trackablate.harness.cli.results import Wanted, submit_run

    writable(out or Path("submission", "x.zip"), file=True)
    return submit_run(Wanted(run, protocol, store, test_layers, tuple(data or ())), out, truncate=truncate)


@answers
def import_(
    name: Annotated[str, typer.Argument(help="your name for the run: letters, digits, dots, dashes")],
    weights: Annotated[Path, typer.Option(help="the file, as its project publishes it")],
    as_: Annotated[str, typer.Option("--as", help="what they are weights of, as `list trackers` shows them")],
    backbone: Annotated[
        Path | None, typer.Option(help="the backbone's file, for LoRAT's weights that hold the trained entries alone")
    ] = None,
    alpha: Annotated[int | None, typer.Option(help="LoRA's alpha, if the weights do not say it")] = None,
    store: StorePath = Path("store"),
    json: Json = False,
) -> dict[str, Any]:
    """Put published weights into the store as a run, to be evaluated, tracked with, and compared.

    Example: python -m harness import my-ostrack --weights OSTrack_ep0300.pth.tar --as ostrack-256-ce
    """
    from trackablate.trackers.variants import VARIANTS

    spec = VARIANTS[as_]
    from trackablate.harness.cli.study_data import open_store
    from trackablate.harness.tracking.imported import Import, import_run

    return import_run(Import(name, weights, spec, backbone, alpha), open_store(store))


@answers
def export_weights(
    run: RunName,
    out: Annotated[Path, typer.Option(help="the file: .safetensors, or any other ending for torch.load")],
    store: StorePath = Path("store"),
    json: Json = False,
) -> dict[str, Any]:
    """Write a stored run's weights, in the official layout where its tracker has one.

    Example: python -m harness export-weights my-ostrack --out OSTrack.pth
    """
    from trackablate.harness.cli.study_data import find_run
    from trackablate.harness.store import Store

    writable(out, file=True)
    folder = find_run(Store(store, make=False), run)
    folder.refuse_lost_import()
    if folder.training() is None:
        raise BadInput(f"the run {folder.run.name} has no weights: it is not trained, or its tracker has none")
    from trackablate.harness.tracking.imported import export_weights as write

    return write(folder, out)


@answers
def returned(
    run: RunName,
    scores: Annotated[list[str], typer.Argument(metavar="METRIC=PERCENT...", help="what the server says, in percent")],
    protocol: Annotated[str, typer.Option("--protocol", help="got10k or trackingnet")],
    data: Version = None,
    store: StorePath = Path("store"),
    test_layers: TestLayers = None,
    json: Json = False,
) -> dict[str, Any]:
    """Keep what an evaluation server returned for a submitted run, for the reports.

    Example: python -m harness returned ncc ao=31.2 sr50=35.0 sr75=10.1 --protocol got10k
    """
    from trackablate.harness.cli.results import Wanted, enter_returned

    return enter_returned(Wanted(run, protocol, store, test_layers, tuple(data or ())), scores)


@answers
def export(
    run: RunName,
    protocol: Annotated[str, typer.Option("--protocol", help="one that the run was evaluated on")],
    layout: Annotated[
        str,
        typer.Option(
            "--layout",
            help="pytracking[-comma], ostrack, pysot[-got10k], lasot-toolkit, got10k[-ope], lorat, otb, trackingnet",
        ),
    ],
    out: Annotated[Path, typer.Option(help="the folder to write")],
    truncate: Truncate = False,
    data: Version = None,
    store: StorePath = Path("store"),
    json: Json = False,
) -> dict[str, Any]:
    """Write a stored run's boxes as raw result files.

    Example: python -m harness export ncc --protocol otb --layout pytracking --out results
    """
    from trackablate.harness.cli.results import Wanted, export_run

    writable(out)
    return export_run(Wanted(run, protocol, store, data=tuple(data or ())), layout, out, truncate=truncate)


@store_app.command()
@answers
def migrate(path: Annotated[Path, typer.Argument(help="the store's folder")], json: Json = False) -> dict[str, Any]:
    """Bring a store of an older version up to date, in place.

    Example: python -m harness store migrate store
    """
    from trackablate.ablations.catalogue import STUDIES
    from trackablate.harness.cli.session import studies_of_old_store
    from trackablate.harness.migration import migrate as bring_up_to_date
    from trackablate.harness.record import StudyRecord
    from trackablate.harness.store import Store
    from trackablate.trackers.variants import VARIANTS

    rows = [study.spec(row) for study in STUDIES.values() for row in study.rows]
    studies: list[StudyRecord] = []

    def record_studies(store: Store) -> None:
        studies.extend(studies_of_old_store(store))
        for record in studies:
            store.set_study(record)

    found = bring_up_to_date(path, [*VARIANTS.values(), *rows], record_studies)
    return {
        "store": str(path),
        "runs": found.runs,
        "evaluations": found.evaluations,
        "studies": [f"{record.study} at {record.profile.name}" for record in studies],
        "sizes to be counted again": found.uncounted,
    }


@store_app.command()
def verify(path: Annotated[Path, typer.Argument(help="the store's folder")], json: Json = False) -> None:
    """Check every file of a store, and name what is damaged with its remedy. The exit status is then 1.

    Example: python -m harness store verify store
    """
    with exit_status():
        from trackablate.harness.cli.terminal import say_document, say_json
        from trackablate.harness.store import Store
        from trackablate.harness.verification import verify as look

        opened = Store(path, make=False)
        if not opened.exists:
            raise BadInput(f"there is no store at {opened.root}: name the folder that `run` was given as --store")
        found = look(opened)
        document = {"store": str(opened.root), "files": found.files, "damaged": found.damaged}
        say_json(document) if json else say_document(document)
        if found.damaged:
            raise typer.Exit(1)


@store_app.callback()
def _store_commands() -> None:
    """Look for damage in a store, or bring an old one up to date."""
