"""The published trainings, and what a smaller profile keeps of them."""

import pytest

from trackablate.ablations.catalogue import STUDIES
from trackablate.ablations.plan import planned_rows, run_of, scaled_recipe
from trackablate.ablations.recipes import epochs, lorat, lorat_full, ostrack, published_training
from trackablate.harness.profiles import load_profile
from trackablate.harness.spec import VideoData
from trackablate.harness.training.rates import schedule
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
    assert [run.seed for run in row.on("synthetic")] == [0, 1, 2]


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
