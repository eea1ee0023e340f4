"""The published trainings, and what a smaller profile keeps of them."""

import hashlib
from pathlib import Path

import pytest

from trackablate.ablations.catalogue import STUDIES
from trackablate.ablations.plan import planned_rows, run_of, scaled_recipe
from trackablate.ablations.recipes import LORAT_PAIRS, epochs, lorat, lorat_full, ostrack, published_training
from trackablate.ablations.studies.detrack import CHOSEN, GFLOPS, SILENT, WARM_UP
from trackablate.ablations.study import Study
from trackablate.datasets.errors import DataError
from trackablate.harness.cli.listing import details
from trackablate.harness.profiles import load_profile
from trackablate.harness.spec import VideoData
from trackablate.harness.training.learning_rates import schedule
from trackablate.trackers.encoder.pretrained import weights_digest
from trackablate.trackers.spec import DeformableHead, TrackerSpec, leaves
from trackablate.trackers.variants import VARIANTS

MINI, PAPER = load_profile("mini"), load_profile("paper")


def test_ostracks_and_detracks_recipe_as_published() -> None:
    """DETRack, section 4.1; OSTrack's settings: 60,000 pairs an epoch, batch 128, a tenth of the rate for the last fifth."""
    recipe = ostrack(20)
    assert recipe.steps * 128 == pytest.approx(20 * 60_000, rel=1e-3)
    assert (recipe.lr_backbone, recipe.lr_new, recipe.weight_decay) == (4e-5, 4e-4, 1e-4)
    assert recipe.pairs_at_once == 64, "each GPU holds 64 pairs"
    assert epochs(ostrack(300)) == pytest.approx(300, rel=1e-4)
    rates = [schedule(recipe, step) for step in (0, int(0.79 * recipe.steps), int(0.81 * recipe.steps))]
    assert rates == [1.0, 1.0, 0.1]


def test_lorats_recipe_as_published() -> None:
    """LoRAT's settings: 170 epochs of 131,072 pairs, cosine from 1e-4 to 1e-6, full fine-tuning with layer decay."""
    recipe = lorat(170)
    assert (recipe.steps, recipe.warmup_steps, recipe.weight_decay, recipe.clip_norm) == (170 * 1024, 2048, 0.1, 1.0)
    assert schedule(recipe, recipe.steps) == pytest.approx(0.01)
    assert (recipe.batch_size, recipe.pairs_at_once) == (128, 16), "eight GPUs hold the batch"
    decays = [lorat_full(170, size).layer_decay for size in "blg"]
    assert decays == [0.7, 0.8, 0.9]
    assert lorat_full(170, "b").clip_norm == 0.1


def test_a_scaled_recipe_keeps_the_length_in_proportion_and_what_sets_a_row_apart() -> None:
    own = scaled_recipe(MINI.recipe or lorat(1), ostrack(20), ostrack(100), ostrack(100).steps)
    assert own.steps == 100
    assert own == (MINI.recipe or lorat(1)).model_copy(update={"steps": 100, "warmup_steps": 20})
    full = scaled_recipe(MINI.recipe or lorat(1), lorat_full(170, "l"), lorat(170), lorat(170).steps)
    assert MINI.recipe is not None
    changed = {n for n in type(full).model_fields if getattr(full, n) != getattr(MINI.recipe, n)}
    assert changed == {"layer_decay", "clip_norm"}


def test_a_short_training_is_the_published_one_but_for_its_length() -> None:
    short = load_profile("short")
    rows = {row.name: row.run for row in planned_rows(STUDIES["table6"], short) if row.role == "variant"}
    paper = {row.name: row.runs[-1].run for row in planned_rows(STUDIES["table6"], PAPER) if row.role == "variant"}
    for name, run in rows.items():
        published = paper[name].recipe
        assert published is not None
        assert run.recipe == published.model_copy(
            update={"steps": round(0.1 * published.steps), "warmup_steps": round(0.1 * published.warmup_steps)}
        )
        assert run.tracker == paper[name].tracker
        assert run.one_shot
    alone = run_of(VARIANTS["lorat-b-224"], short, 0).recipe
    assert alone is not None
    assert (alone.steps, alone.warmup_steps) == (17 * 1024, 205)


def test_rates_scale_in_proportion() -> None:
    twice = ostrack(100).model_copy(update={"lr_new": 8e-4})
    assert MINI.recipe is not None
    assert scaled_recipe(MINI.recipe, twice, ostrack(100), ostrack(100).steps).lr_new == 2 * MINI.recipe.lr_new


def test_at_paper_scale_a_row_has_a_run_for_every_training() -> None:
    rows = {row.name: row for row in planned_rows(STUDIES["table1"], PAPER)}
    runs = rows["detrack"].runs
    assert [run.protocols for run in runs] == [("got10k",), ("trackingnet", "lasot")]
    assert [round(epochs(run.run.recipe)) for run in runs if run.run.recipe] == [20, 60]
    assert runs[0].run.one_shot
    assert not runs[1].run.one_shot
    assert [round(epochs(run.run.recipe)) for run in rows["ostrack"].runs if run.run.recipe] == [100, 300]


def test_a_protocol_that_no_training_names_goes_to_the_last() -> None:
    (row, *_) = planned_rows(STUDIES["table1"], PAPER, protocols=("otb", "got10k"))
    assert [run.protocols for run in row.runs] == [("got10k",), ("otb",)]
    (row, *_) = planned_rows(STUDIES["table1"], MINI, protocols=("otb",))
    assert [run.protocols for run in row.runs] == [("otb",)]


def test_seeds_are_runs_of_their_own_and_serve_the_same_protocols() -> None:
    (row, *_) = planned_rows(STUDIES["table3"], MINI, seeds=3)
    assert [run.run.seed for run in row.runs] == [0, 1, 2]
    assert len({run.run.fingerprint for run in row.runs}) == 3
    assert {planned.protocols for planned in row.runs} == {("synthetic",)}


def test_studies_share_runs() -> None:
    prints = {name: {row.run.fingerprint for row in planned_rows(STUDIES[name], MINI)} for name in STUDIES}
    assert len(prints["table1"] & prints["figure1"] & prints["figure5"]) >= 2
    assert prints["table1"] & prints["table3"], "OSTrack with elimination at full length"
    assert prints["lorat-peft"] & prints["lorat-rank"] & prints["lorat-variants"] & prints["lorat-adaptation"]


def test_decoder_rows_that_differ_in_testing_only_are_one_training() -> None:
    rows = [row for row in planned_rows(STUDIES["table4"], MINI) if row.role == "variant"]
    assert len({row.run.fingerprint for row in rows}) == 3
    assert sorted({row.test_layers or 0 for row in rows}) == [0, 1, 2, 3]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_has_a_published_training(name: str) -> None:
    training = published_training(VARIANTS[name])
    assert isinstance(training.data, VideoData)
    assert training.recipe.steps > 10_000


def test_the_published_trackers_train_on_their_own_list_of_got10k() -> None:
    for name in ("ostrack-256-ce", "detrack-ce", "lorat-b-224", "full-l-378"):
        assert published_training(VARIANTS[name]).data.sets[1] == "got10k-train-vottrain"


def test_lorat_draws_exact_shares_and_images_of_coco() -> None:
    studies = [study for name, study in STUDIES.items() if name.startswith("lorat")]
    trainings = [training for study in studies for training in study.trainings]
    trainings.append(published_training(VARIANTS["lorat-b-224"]))
    assert {(t.data.pairs_per_epoch, t.data.by_image) for t in trainings} == {(LORAT_PAIRS, True)}
    assert all(training.recipe.fit_boxes for training in trainings)
    ours = published_training(VARIANTS["ostrack-256"])
    assert (ours.data.pairs_per_epoch, ours.data.by_image, ours.recipe.fit_boxes) == (None, False, False)


def test_ostrack_384_jitters_more() -> None:
    """OSTrack's settings for 384 pixels: centre 4.5, scale 0.5, with and without elimination."""
    jitters = {
        name: (
            published_training(VARIANTS[name]).recipe.centre_jitter,
            published_training(VARIANTS[name]).recipe.scale_jitter,
        )
        for name in ("ostrack-256-ce", "ostrack-384", "ostrack-384-ce")
    }
    assert jitters == {"ostrack-256-ce": (3.0, 0.25), "ostrack-384": (4.5, 0.5), "ostrack-384-ce": (4.5, 0.5)}
    small = run_of(VARIANTS["ostrack-384"], MINI, 0).recipe
    assert small == MINI.recipe


def test_ostracks_videos_and_true_boxes() -> None:
    recipe = ostrack(300)
    assert (recipe.least_frames, recipe.least_visible, recipe.clip_truth) == (20, 5, False)


def test_layer_decay_ends_at_one_rate_for_all_layers() -> None:
    """LoRAT's cosine ends at 1e-6, also where layer decay has put the peak below it."""
    recipe = lorat_full(170, "b")
    for peak in (1e-4, 1e-4 * 0.7**5, 1e-4 * 0.7**14):
        assert peak * schedule(recipe, recipe.steps, peak) == pytest.approx(1e-6)
        assert peak * schedule(recipe, recipe.warmup_steps, peak) == pytest.approx(peak)
    assert MINI.recipe is not None
    assert schedule(MINI.recipe, 100, 1e-4) == schedule(MINI.recipe, 100)


def test_lorats_position_study_clips_at_one() -> None:
    (training,) = STUDIES["lorat-positions"].trainings
    assert (training.recipe.clip_norm, training.recipe.layer_decay) == (1.0, 0.7)
    (full, *_) = [r for r in STUDIES["lorat-adaptation"].rows if r.name == "full-b-224"]
    assert STUDIES["lorat-adaptation"].recipes(full)[0].clip_norm == 0.1


def test_elimination_warms_up_by_the_training() -> None:
    """OSTrack's settings: epochs 20 to 70 of 100 for GOT-10k, 20 to 100 of 300 otherwise."""
    rows = {row.name: row for row in planned_rows(STUDIES["table1"], PAPER)}
    for name in ("ostrack", "detrack"):
        shares = [leaves(run.run.tracker) for run in rows[name].runs]
        assert [(s["sparsity.start"], s["sparsity.end"]) for s in shares] == [(0.2, 0.7), (20 / 300, 100 / 300)]
    (small, *_) = planned_rows(STUDIES["table1"], MINI)
    assert leaves(small.run.tracker)["sparsity.start"] == 20 / 300


@pytest.mark.parametrize(
    ("study", "lengths"),
    [
        ("table3", {"conv": 100, "decoder": 20, "ce-conv": 100, "ce-decoder": 20}),
        ("head", {"centre": 100, "mlp": 100, "decoder": 20}),
    ],
)
def test_convolutional_rows_train_five_times_as_long_in_the_paper(study: str, lengths: dict[str, int]) -> None:
    for profile in (PAPER, MINI):
        rows = [row for row in planned_rows(STUDIES[study], profile) if row.role == "variant"]
        found = {row.name: row.run.recipe for row in rows}
        if profile is PAPER:
            assert {name: round(epochs(recipe)) for name, recipe in found.items() if recipe} == lengths
        else:
            assert set(map(repr, found.values())) == {repr(MINI.recipe)}, "a profile's own recipe trains all rows alike"


DECODERS = [s for s in STUDIES.values() if any(isinstance(s.spec(row).head, DeformableHead) for row in s.rows)]


@pytest.mark.parametrize("study", DECODERS, ids=lambda study: study.name)
def test_a_study_of_decoders_says_where_detrack_is_silent(study: Study) -> None:
    assert CHOSEN in study.remarks
    assert all(choice in CHOSEN for choice in SILENT.values())
    shown = details(study.name)
    assert shown["chosen where the paper is silent"] == SILENT
    assert CHOSEN in shown["remarks"]
    marked = {
        f
        for row in shown["rows"].values()
        if isinstance(row["differs"], dict)
        for f, v in row["differs"].items()
        if "silent" in v
    }
    assert marked <= set(SILENT)
    assert study.name not in ("table1", "table3", "head") or "head.points" in marked


def test_what_is_open_is_a_field_and_has_the_value_that_is_told() -> None:
    decoder = {**leaves(VARIANTS["detrack-ce"]), **{f"recipe.{k}": v for k, v in ostrack(20).model_dump().items()}}
    assert set(SILENT) <= set(decoder)
    told = {"head.heads": 8, "head.points": 4, "head.feedforward": 2048, "head.top_k": 9, "denoising.groups": 5}
    told |= {"denoising.shift": 0.4, "denoising.scale": 0.4, "recipe.clip_norm": 0.1, "drop_path": 0.1}
    for field, value in told.items():
        assert decoder[field] == value
        assert str(value) in SILENT[field]


@pytest.mark.parametrize("name", ["table1", "figure1"])
def test_the_two_ways_of_counting_are_told_where_gflops_are_printed(name: str) -> None:
    assert GFLOPS in STUDIES[name].remarks
    assert WARM_UP in STUDIES[name].remarks
    # Without elimination 12 blocks project 320 tokens to q, k and v; with it the later ones have 244, 190, 153.
    tokens = {"none": 12 * 320, "ce": 4 * 320 + 3 * 244 + 3 * 190 + 2 * 153}
    hidden = {kind: count * 3 * 768**2 / 1e9 for kind, count in tokens.items()}
    assert 21.517 - hidden["ce"] == pytest.approx(16.4, abs=0.05)
    assert 29.050 - hidden["none"] == pytest.approx(22.3, abs=0.05)


def test_detracks_ablations_start_from_caes_weights_where_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows of tables 3 to 6 at published sizes; OSTrack's row in table 1, and smaller profiles, keep what they had."""
    before = {name: planned_rows(STUDIES[name], PAPER) for name in ("table1", "table3")}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cae.pth").write_bytes(b"weights")
    (tmp_path / "trackablate.toml").write_text('[weights]\ncae-b16 = "cae.pth"\n')
    found = [row.run for row in planned_rows(STUDIES["table3"], PAPER) if row.role == "variant"]
    assert {run.tracker.pretrained for run in found if isinstance(run.tracker, TrackerSpec)} == {"file:cae.pth"}
    assert {run.weights for run in found} == {hashlib.sha256(b"weights").hexdigest()}
    assert planned_rows(STUDIES["table1"], PAPER) == before["table1"]
    small = planned_rows(STUDIES["table3"], MINI)[0].run.tracker
    assert isinstance(small, TrackerSpec)
    assert small.pretrained == "shipped"
    own = PAPER.model_copy(update={"pretrained": {"vit-b16": "timm"}})
    assert planned_rows(STUDIES["table3"], own) == before["table3"], "a profile's own choice comes first"
    (tmp_path / "cae.pth").unlink()
    weights_digest.cache_clear()
    with pytest.raises(DataError, match=r"cae.pth: there is no such file"):
        planned_rows(STUDIES["table3"], PAPER)
    (tmp_path / "trackablate.toml").write_text("[weights]\ncae-b16 = 3\n")
    with pytest.raises(DataError, match=r"names no file for 'cae-b16'"):
        planned_rows(STUDIES["table3"], PAPER)
