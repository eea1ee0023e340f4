"""LoRAT's published sizes, every row of them: parameters to the last one, multiply-accumulates within 0.1 %.

The numbers were measured on the official code (tables 1.6 and 3 of the project's notes on it): conv, linear, matmul, both
products of attention (2 L L d) and 5 per element of layer normalisation.
"""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from places import ROOT
from trackablate.harness.costing.macs import cost_document
from trackablate.trackers.spec import differences
from trackablate.trackers.variants import VARIANTS

B_HEAD = 2_366_213
CONV_HEAD, OSTRACK_HEAD = 4_316_133, 6_474_117
FINAL_NORM = 2 * 768


class Published(NamedTuple):
    total: int
    trainable: int
    added: int
    head: int
    inference: int
    merged: float | None = None
    unmerged: float | None = None


TRACKERS = {
    "lorat-s-224": Published(27_530_885, 5_902_853, 5_308_416, 593_285, 22_222_469, 7.978, 9.676),
    "lorat-b-224": Published(98_708_741, 12_985_349, 10_616_832, B_HEAD, 88_091_909, 29.847, 33.244),
    "lorat-l-224": Published(335_744_005, 32_518_149, 28_311_552, 4_203_525, 307_432_453, 103.018, 112.078),
    "lorat-g-224": Published(1_215_001_093, 80_234_501, 70_778_880, 9_451_013, 1_144_222_213),
    "lorat-s-378": Published(27_712_517, 5_902_853, 5_308_416, 593_285, 22_404_101, 28.211, 33.122),
    "lorat-b-378": Published(99_072_005, 12_985_349, 10_616_832, B_HEAD, 88_455_173, 96.565, 106.385),
    "lorat-l-378": Published(336_228_357, 32_518_149, 28_311_552, 4_203_525, 307_916_805, 325.247, 351.435),
    "lorat-g-378": Published(1_215_727_621, 80_234_501, 70_778_880, 9_451_013, 1_144_948_741),
    "full-b-224": Published(88_091_909, 88_091_909, 0, B_HEAD, 88_091_909, 29.847),
    "full-l-224": Published(307_432_453, 307_432_453, 0, 4_203_525, 307_432_453, 103.018),
}


def adapted(total: int, trainable: int, macs: float, head: int = B_HEAD) -> Published:
    """A row under LoRA: what is added is what trains besides the head, the types and the final norm."""
    added = total - (88_091_909 - B_HEAD + head)
    return Published(total, trainable, added, head, total - added, macs)


def kept(total: int, trainable: int, macs: float) -> Published:
    """A row whose added parameters stay at inference."""
    return Published(total, trainable, total - 88_091_909, B_HEAD, total, macs)


def fully(total: int, macs: float, head: int = B_HEAD) -> Published:
    return Published(total, total, 0, head, total, macs)


ABLATIONS = {
    "lorat-b-224-conv-published": adapted(100_658_661, 14_936_805, 30.346, CONV_HEAD),
    "lorat-b-224-conv": adapted(100_658_661, 14_936_805 - FINAL_NORM, 30.346, CONV_HEAD),
    "lorat-b-224-ostrackhead-published": adapted(102_816_645, 17_094_789, 30.899, OSTRACK_HEAD),
    "lorat-b-224-ostrackhead": adapted(102_816_645, 17_094_789 - FINAL_NORM, 30.899, OSTRACK_HEAD),
    "lorat-b-224-mixattn-published": adapted(98_708_741, 12_986_885, 29.545),
    "lorat-b-224-mixattn": adapted(98_708_741, 12_986_885 - FINAL_NORM, 29.545),
    "lorat-b-224-adapter-published": kept(89_871_749, 4_148_357, 30.413),
    "lorat-b-224-adapter": kept(89_871_749, 4_148_357, 30.413),
    "lorat-b-224-ia3": Published(88_147_205, 2_423_813, 55_296, B_HEAD, 88_091_909, 29.847),
    "lorat-b-224-vpt-5": kept(88_137_989, 2_414_597, 30.331),
    "lorat-b-224-vpt-10": kept(88_184_069, 2_460_677, 30.817),
    "lorat-b-224-pos-shared": Published(98_706_437, 12_983_045, 10_616_832, B_HEAD, 88_089_605, 29.847),
    "lorat-b-224-pos-trainable-shared": Published(98_706_437, 13_179_653, 10_616_832, B_HEAD, 88_089_605, 29.847),
    "lorat-b-224-pos-shared-types": Published(98_707_973, 12_984_581, 10_616_832, B_HEAD, 88_091_141),
    "lorat-b-224-pos-trainable-shared-types": Published(98_707_973, 13_181_189, 10_616_832, B_HEAD, 88_091_141),
    "lorat-b-224-init-gaussian": adapted(98_708_741, 12_985_349, 29.847),
    "lorat-b-224-init-kaiming": adapted(98_708_741, 12_985_349, 29.847),
    "lorat-b-224-r16": adapted(90_746_117, 5_022_725, 29.847),
    "lorat-b-224-qkvo-r64": adapted(92_810_501, 7_087_109, 29.847),
    "lorat-b-224-qv-r64": adapted(90_451_205, 4_727_813, 29.847),
    "lorat-b-224-qv-r4": adapted(88_239_365, 2_515_973, 29.847),
    "lorat-b-224-mlp-r64": adapted(93_990_149, 8_266_757, 29.847),
    "full-b-224-conv-published": fully(90_041_829, 30.346, CONV_HEAD),
    "full-b-224-conv": fully(90_041_829, 30.346, CONV_HEAD),
    "full-b-224-ostrackhead-published": fully(92_199_813, 30.899, OSTRACK_HEAD),
    "full-b-224-ostrackhead": fully(92_199_813, 30.899, OSTRACK_HEAD),
    "full-b-224-mixattn": fully(88_091_909, 29.545),
    "full-b-224-pos-sep": fully(88_138_757, 29.847),
    "full-b-224-pos-shared": fully(88_089_605, 29.847),
    "full-b-224-pos-shared-types": fully(88_091_141, 29.847),
    "full-b-224-pos-sinusoidal": fully(87_892_997, 29.847),
}
ALL = TRACKERS | ABLATIONS


@cache
def counted(name: str) -> dict[str, Any]:
    return cost_document(VARIANTS[name])


@pytest.mark.parametrize("name", ALL)
def test_parameters_are_the_published_ones(name: str) -> None:
    published, found = ALL[name], counted(name)
    assert found["params"] == published.total
    assert found["trainable_params"] == published.trainable
    assert found["adaptation_params"] == published.added
    assert found["head_params"] == published.head
    assert found["inference_params"] == published.inference


@pytest.mark.parametrize("name", [name for name, row in ALL.items() if row.merged])
def test_macs_are_the_published_ones(name: str) -> None:
    published, found = ALL[name], counted(name)
    assert found["macs"]["fvcore"] == pytest.approx(published.merged * 1e9, rel=1e-3)  # type: ignore[operator]
    if published.unmerged:
        assert found["macs_unmerged"] == pytest.approx(published.unmerged * 1e9, rel=1e-3)


def test_macs_by_operation_are_the_published_ones() -> None:
    """B-224 merged: linear 27.784 G and convolution 0.145 G; and what the last block leaves out."""
    found = counted("lorat-b-224")
    assert found["macs"]["thop_linear_conv_only"] == pytest.approx((27.784 + 0.145) * 1e9, rel=1e-4)
    assert found["tokens"] == {"template": 64, "search": 256}
    width, queries, tokens = 768, 64, 320
    normalised = 5 * queries * width * 2  # before the MLP, and the final one
    assert found["macs_skipped"] == queries * (10 * width**2 + 2 * tokens * width) + normalised


def test_every_lorat_variant_has_its_row_here() -> None:
    named = {name for name in VARIANTS if name.startswith(("lorat-", "full-"))}
    assert named - set(ALL) == {f"full-{s}-{p}" for s in "sblg" for p in (224, 378)} - set(TRACKERS)


@pytest.mark.parametrize("pixels", [224, 378])
@pytest.mark.parametrize("size", "sblg")
def test_baselines_without_a_published_row_are_their_tracker_merged(size: str, pixels: int) -> None:
    found, lorat = counted(f"full-{size}-{pixels}"), counted(f"lorat-{size}-{pixels}")
    assert found["params"] == found["trainable_params"] == lorat["inference_params"]
    assert found["macs"] == lorat["macs"]


IMPORTING = "import time, torch, timm, peft; print(time.process_time())"
COUNTING = """
import runpy, sys, time
sys.argv = ["harness", "cost", "lorat-g-378", "--json"]
try:
    runpy.run_module("harness", run_name="__main__")
finally:
    status = open("/proc/self/status").read()
    print(status.split("VmHWM:")[1].split()[0], time.process_time(), file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc, which is not here")
def test_the_giant_is_counted_without_its_weights() -> None:
    """By the command line, in a process of its own: at most 2 GB (its weights alone take 4.6), and a few times the processor
    time that importing torch, timm and peft takes on the same machine (10 s against 4 on an idle one)."""
    root = ROOT
    importing, counting = (
        subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)
        for code in (IMPORTING, COUNTING)
    )
    kilobytes, seconds = counting.stderr.split()[-2:]
    assert json.loads(counting.stdout)["params"] == TRACKERS["lorat-g-378"].total
    assert int(kilobytes) < 2 * 1024**2
    assert float(seconds) < 4 * float(importing.stdout)


CONFOUNDED = {
    "lorat-b-224-conv": ("lorat-b-224", {"head"}, {"labels", "train_norm"}),
    "lorat-b-224-ostrackhead": ("lorat-b-224", {"head"}, {"labels", "train_norm"}),
    "full-b-224-conv": ("full-b-224", {"head"}, {"labels"}),
    "full-b-224-ostrackhead": ("full-b-224", {"head"}, {"labels"}),
    "lorat-b-224-mixattn": ("lorat-b-224", {"attention"}, {"train_norm"}),
}
"""Rows that differ from their baseline in more than they are about, and in what."""


@pytest.mark.parametrize("name", CONFOUNDED)
def test_a_confounded_row_is_there_as_intended_and_as_published(name: str) -> None:
    """Under the plain name one thing differs, under the other what the official configuration changes besides."""
    baseline, about, besides = CONFOUNDED[name]

    def changed(variant: str) -> set[str]:
        return {field.split(".")[0] for field in differences(VARIANTS[variant], VARIANTS[baseline])}

    assert changed(name) == about
    assert changed(f"{name}-published") == about | besides
