"""Rows of several seeds: every figure is over all of them, and none stands for a row that lacks one."""

import re
from dataclasses import replace

import pytest

import report_factory as factory
from trackablate.reports.formats.documents import results_json
from trackablate.reports.results import Result
from trackablate.reports.statistics.variance import noise, row_difference, row_estimate
from trackablate.reports.tables.accuracy import METHOD, METHOD_OF_SEEDS
from trackablate.reports.tables.effects import effects, samples, stability
from trackablate.reports.tables.pivot import pivot
from trackablate.reports.tables.sequences import attribute_table

AO = f"{factory.PROTOCOL}:ao"


@pytest.fixture(scope="module")
def seeded() -> Result:
    """Table 3 with three seeds per variant."""
    result = factory.study_result()
    rows = []
    for row in result.rows:
        if row.role != "variant":
            rows.append(row)
            continue
        found = row.protocols[factory.PROTOCOL]
        more = tuple(factory.protocol_result(f"{row.name}-{seed}", 0.1).tallies for seed in (1, 2))
        own = factory.record_of(row)
        records = tuple(
            own.model_copy(update={"asked": own.asked.model_copy(update={"seed": seed})}) for seed in (0, 1, 2)
        )
        rows.append(
            replace(
                row,
                protocols={factory.PROTOCOL: replace(found, seeds=(found.tallies, *more), records=records)},
                records=records,
            )
        )
    return replace(result, rows=tuple(rows))


def test_a_figure_is_the_mean_over_seeds_with_an_interval_over_both(seeded: Result) -> None:
    facts, row = seeded.protocols[0], seeded.rows[0]
    numerators, weights = samples(row.protocols[facts.name], facts, seeded)
    assert numerators.shape == (3, factory.SEQUENCES)
    of_each = numerators.sum(axis=1) / weights.sum(axis=1)
    table = pivot(seeded)
    cell = table.rows[0].cells[AO]
    assert cell.value == pytest.approx(100 * of_each.mean())
    assert cell.low == pytest.approx(100 * (row_estimate(numerators, weights).low or 0))
    notes = [table.footnotes[i] for column in table.columns if column.key == AO for i in column.footnotes]
    assert METHOD in notes, "the floors have one run each"
    assert METHOD_OF_SEEDS in notes


def test_a_row_that_lacks_a_sequence_of_one_seed_has_no_mean(seeded: Result) -> None:
    row = seeded.rows[1]
    found = row.protocols[factory.PROTOCOL]
    second = dict(found.seeds[1])
    second.popitem()
    part = replace(row, protocols={factory.PROTOCOL: replace(found, seeds=(found.tallies, second, found.seeds[2]))})
    table = pivot(replace(seeded, rows=(seeded.rows[0], part, *seeded.rows[2:])))
    assert table.rows[1].cells[AO].value is None
    assert any("seed 1: 47 of 48 sequences" in text for text in table.missing)


def test_differences_are_corrected_for_their_number(seeded: Result) -> None:
    found = effects(seeded)
    assert len(found) == len(seeded.rows) - 1
    for effect in found.values():
        assert effect.verdict is not None
        assert effect.verdict.adjusted >= effect.verdict.p
        assert (effect.needed is None) == effect.verdict.resolved
    cell = next(row for row in pivot(seeded).rows if row.name == "ncc").cells[f"{AO}:p"]
    verdict = found[factory.PROTOCOL, "ncc"].verdict
    assert verdict is not None
    assert cell.value == verdict.adjusted


def test_the_ranking_says_how_stable_it_is(seeded: Result) -> None:
    found = stability(seeded, seeded.protocols[0])
    assert found is not None
    names, ranks = found
    assert names == [row.name for row in seeded.rows if row.role == "variant"]
    assert ranks.ranks.sum(axis=0) == pytest.approx(1)
    assert any(
        re.match(rf"The row that is most often first .*: \S+ in \d+ % of the draws on {factory.PROTOCOL}\. ", n)
        for n in pivot(seeded).footnotes
    )


def test_an_attribute_is_over_all_seeds_too(seeded: Result) -> None:
    facts, row = seeded.protocols[0], seeded.rows[0]
    table = attribute_table(seeded, facts)
    assert table is not None
    of = facts.members[table.rows[0].name]
    numerators, weights = row.protocols[facts.name].samples("ao", facts.dialects["ao"], of)
    assert numerators.shape == (3, len(of))
    expected = 100 * (numerators.sum(axis=1) / weights.sum(axis=1)).mean()
    assert table.rows[0].cells[f"{row.name} ao"].value == pytest.approx(expected)


def test_a_floor_has_no_seeds_to_vary_with(seeded: Result) -> None:
    """Its own part of the noise is none: the interval is that of the baseline's seeds and of the sequences."""
    facts, rows = seeded.protocols[0], {row.name: row for row in seeded.rows}
    reference = samples(rows["conv"].protocols[facts.name], facts, seeded)
    numerators, weights = samples(rows["static"].protocols[facts.name], facts, seeded)
    tiled = (numerators.repeat(3, axis=0), weights.repeat(3, axis=0))
    found = effects(seeded)[facts.name, "static"].estimate
    assert found == row_difference(tiled, reference)
    seen = noise(tiled, reference)
    assert seen is not None
    assert (seen.seed[0], seen.residual[0]) == (0, pytest.approx(0, abs=1e-20))


def test_the_document_names_every_run(seeded: Result) -> None:
    import json

    document = json.loads(results_json(seeded, pivot(seeded)))
    assert len(document["rows"][0]["runs"]) == 3
