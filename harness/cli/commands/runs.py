"""The commands that make and use single runs: train, evaluate, track, weights in and out, the embedded backbone."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from trackablate.harness.cli.options import (
    AnyRun,
    Changes,
    Compile,
    Data,
    Device,
    FitMemory,
    Fsdp,
    GpusPerRun,
    Json,
    LoaderWorkers,
    Log,
    NodeRank,
    Nodes,
    Precisions,
    ProfileName,
    Rendezvous,
    RunName,
    StorePath,
    TrackingPrecision,
    answers,
    can_log,
    exit_status,
    writable,
)
from trackablate.harness.errors import BadInput


@partial(answers, words="trained_in_words")
def train(
    variant: Annotated[str, typer.Argument(help="a tracker, as `list trackers` shows them")],
    profile: ProfileName = "mini",
    data: Data = None,
    device: Device = "auto",
    gpus_per_run: GpusPerRun = 1,
    nodes: Nodes = 1,
    node_rank: NodeRank = 0,
    rendezvous: Rendezvous = "",
    loader_workers: LoaderWorkers = None,
    fit_memory: FitMemory = False,
    fsdp: Fsdp = False,
    log: Log = "",
    set_: Changes = None,
    store: StorePath = Path("store"),
    json: Json = False,
) -> dict[str, Any]:
    """Train one variant at a profile's size.

    Example: python -m harness train ostrack-256-ce
    """
    from trackablate.harness.cli.launching import shared
    from trackablate.harness.cli.pieces import train_variant
    from trackablate.harness.profiles import load_profile, with_changes

    can_log(log)
    how = shared(gpus_per_run, nodes, node_rank, rendezvous)
    how = how.model_copy(update={"loader_workers": loader_workers, "fit_memory": fit_memory, "log": log, "fsdp": fsdp})
    asked = with_changes(load_profile(profile), set_ or [])
    return train_variant(variant, asked, data or [], store, device, how)


@partial(answers, words="evaluated_in_words")
def evaluate(
    run: AnyRun,
    protocol: Annotated[str, typer.Option("--protocol", help="as `list protocols` shows them")],
    data: Data = None,
    device: Device = "auto",
    gpus_per_run: GpusPerRun = 1,
    precision: TrackingPrecision = Precisions.fp32,
    compile_: Compile = False,
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

    wanted = Evaluation(protocol=protocol, data="", precision=precision.value, compile=compile_)
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
    compile_: Compile = False,
    store: StorePath = Path("store"),
    json: Json = False,
) -> None:
    """Track one target with a stored run. Prints a box x,y,w,h per line, or draws with --out; --json has all boxes.

    Example: python -m harness track ncc clip.mp4 --init 50,46,25,62 --out tracked.mp4
    """
    with exit_status():
        from trackablate.harness.cli.pieces import TrackRequest, track_video
        from trackablate.harness.cli.terminal import say_boxes, say_json

        runs = [run, *(with_ or ())]
        asked = TrackRequest(runs, video, init, store, device, precision.value, out, show, compile=compile_)
        boxes, *others = track_video(asked).items()
        beside = {"with": dict(others)} if others else {}
        if json:
            say_json({"boxes": boxes[1], **beside})
        elif not out:
            say_boxes(boxes[1])


@answers
def import_(
    name: Annotated[str, typer.Argument(help="your name for the run: letters, digits, dots, dashes")],
    weights: Annotated[Path, typer.Option(help="the file, as its project publishes it")],
    as_: Annotated[str, typer.Option("--as", help="what they are weights of, as `list trackers` shows them")],
    backbone: Annotated[
        Path | None, typer.Option(help="the backbone's file, for LoRAT's weights that hold the trained entries alone")
    ] = None,
    alpha: Annotated[int | None, typer.Option(help="LoRA's alpha, if the weights do not say it")] = None,
    profile: Annotated[str, typer.Option("--profile", help="the size that they have, as mini")] = "paper",
    store: StorePath = Path("store"),
    json: Json = False,
) -> dict[str, Any]:
    """Put published weights into the store as a run, to be evaluated, tracked with, and compared.

    Example: python -m harness import my-ostrack --weights OSTrack_ep0300.pth.tar --as ostrack-256-ce
    """
    from trackablate.harness.profiles import load_profile
    from trackablate.trackers.scale import at_scale
    from trackablate.trackers.variants import VARIANTS

    scale, spec = load_profile(profile).scale, VARIANTS[as_]
    from trackablate.trackers.encoder.pretrained import refuse_absent

    refuse_absent(weights)  # before torch is imported, which takes seconds
    from trackablate.harness.cli.study_data import open_store
    from trackablate.harness.tracking.imported import Import, import_run

    sized = at_scale(spec, scale) if scale else spec
    return import_run(Import(name, weights, sized, backbone, alpha), open_store(store))


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

    return write(folder, out, store)


def pretrain(
    name: Annotated[str, typer.Argument(help="the recipe, a TOML file in harness/training")] = "mini",
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="the safetensors file to write; default: the shipped one")] = None,
    store: StorePath = Path("store"),
) -> None:
    """Make the pretrained backbone of the embedded profiles.

    Example: python -m harness pretrain mini --out mine.safetensors
    """
    with exit_status():
        import os

        from trackablate.harness.running.threads import quiet_threads

        quiet_threads(os.cpu_count() or 1)
        from trackablate.harness.costing.devices import resolve_device
        from trackablate.harness.progress.bars import step_bar
        from trackablate.harness.training.pretraining import load_pretraining
        from trackablate.harness.training.pretraining import pretrain as make
        from trackablate.trackers.encoder.pretrained import FILES

        asked = load_pretraining(name)
        place, folder = out or FILES[asked.backbone], store / "pretraining" / name
        writable(place, file=True)
        writable(store, "--store")
        with step_bar(f"pretraining {name}", asked.recipe.steps) as done:
            make(asked, place, folder, resolve_device(device), done)
