"""Two trackers compared: differences and tests against hand computation and scipy, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import score_factory as factory
from trackablate.harness.errors import BadInput
from trackablate.harness.scoring.metrics import values
from trackablate.harness.scoring.scored import Scored, ScoredTracker
from trackablate.harness.scoring.threshold_counts import Tally, tally
from trackablate.reports.results import result_of
from trackablate.reports.statistics.bootstrap import paired_difference, signed_rank
from trackablate.reports.table import Cell, Table
from trackablate.reports.tables import comparison
from trackablate.reports.tables.accuracy import FEW
from trackablate.reports.tables.comparison import (
    POOLED,
    UNRESOLVED,
    Comparison,
    comparison_table,
    largest_table,
    pair_table,
)

A, B = "SiamSteady", "OceanDrift"


@pytest.fixture(scope="module")
def scored() -> Scored:
    return factory.scored()


@pytest.fixture(scope="module")
def found(scored: Scored) -> Comparison:
    return compare(scored, A, B, "auc")


def compare(scored: Scored, a: str, b: str, metric: str, dialect: str = "ostrack") -> Comparison:
    rules = factory.dialect(dialect)
    return comparison.compare(result_of(scored), scored.protocol, a, b, metric, rules)


def comparisons(scored: Scored, a: str, b: str) -> list[Comparison]:
    return comparison.comparisons(result_of(scored, (a, b)))


def table_of(scored: Scored, a: str, b: str) -> Table:
    return comparison_table(result_of(scored), comparisons(scored, a, b))


def tallies_of(tracker: ScoredTracker) -> list[Tally]:
    return list(tracker.protocols["lasot"].tallies.values())


def shares(scored: Scored, name: str, metric: str, dialect: str) -> np.ndarray:
    tracker = next(t for t in scored.trackers if t.name == name)
    numerators, weights = values(tallies_of(tracker), metric, factory.dialect(dialect))
    return numerators / weights


def notes_at(table: Table, cell: Cell) -> list[str]:
    return [table.footnotes[index] for index in cell.footnotes]


# The rank test


def test_signed_rank_by_hand() -> None:
    """Of 2^3 sign patterns of three distinct differences, two are as one-sided as all positive: 1/4."""
    assert signed_rank(np.array([1.0, 2.0, 3.0])) == pytest.approx(0.25)
    assert signed_rank(np.array([3.0, -1.0, -2.0])) == pytest.approx(1.0)


def test_signed_rank_is_exact_for_few_and_normal_for_many() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.normal(0.4, 1, 50), rng.normal(0.1, 1, 51)
    assert signed_rank(few) == stats.wilcoxon(few, method="exact").pvalue
    assert signed_rank(many) == stats.wilcoxon(many, method="approx").pvalue
    assert signed_rank(-many) == pytest.approx(signed_rank(many))


def test_sequences_without_a_difference_speak_for_there_being_none() -> None:
    differences = np.array([0.5, 0.4, 0.3, 0.25, 0.2, -0.1])
    padded = np.concatenate([differences, np.zeros(6)])
    assert signed_rank(padded) == stats.wilcoxon(padded, zero_method="pratt", method="approx").pvalue
    assert signed_rank(padded) != stats.wilcoxon(padded, zero_method="wilcox", method="approx").pvalue


def test_signed_rank_of_ties_nothing_and_no_number() -> None:
    tied = np.array([1.0, 1.0, -1.0, 2.0])
    assert signed_rank(tied) == stats.wilcoxon(tied, method="approx").pvalue
    assert signed_rank(np.zeros(4)) == 1.0
    assert signed_rank(np.zeros(0)) is None
    with pytest.raises(ValueError, match="finite"):
        signed_rank(np.array([1.0, np.nan]))


# The comparison


def test_the_difference_is_a_minus_b_with_the_paired_interval(scored: Scored, found: Comparison) -> None:
    a, b = shares(scored, A, "auc", "ostrack"), shares(scored, B, "auc", "ostrack")
    assert found.difference.value == pytest.approx((a - b).mean())
    assert found.of_a.value == pytest.approx(a.mean())
    assert found.of_b.value == pytest.approx(b.mean())
    ones = np.ones(len(a))
    assert found.difference == paired_difference((a, ones), (b, ones))
    assert found.difference.low is not None
    assert 0 < found.difference.low < found.difference.value
    assert found.p == pytest.approx(stats.wilcoxon(a - b).pvalue)


def test_wins_losses_and_ties_add_up_and_turn_round(scored: Scored, found: Comparison) -> None:
    a, b = shares(scored, A, "auc", "ostrack"), shares(scored, B, "auc", "ostrack")
    assert (found.wins, found.losses) == ((a > b).sum(), (a < b).sum())
    assert found.wins > found.losses > 0
    assert found.wins + found.losses + found.ties == len(found.sequences) == factory.SEQUENCES
    back = compare(scored, B, A, "auc")
    assert (back.wins, back.losses, back.ties) == (found.losses, found.wins, found.ties)
    assert back.difference.value == pytest.approx(-found.difference.value)
    assert back.p == pytest.approx(found.p)


def test_equal_trackers_tie_everywhere(scored: Scored) -> None:
    twin = replace(scored.trackers[0], name="twin")
    both = replace(scored, trackers=(*scored.trackers, twin))
    found = compare(both, A, "twin", "auc")
    assert (found.wins, found.losses, found.ties, found.p) == (0, 0, factory.SEQUENCES, 1.0)
    assert found.difference.value == 0


def test_sequences_come_with_the_largest_difference_first(scored: Scored, found: Comparison) -> None:
    apart = [abs(pair.a - pair.b) for pair in found.sequences]
    assert apart == sorted(apart, reverse=True)
    a = dict(zip(factory.names(), shares(scored, A, "auc", "ostrack"), strict=True))
    assert all(pair.a == pytest.approx(100 * a[pair.name]) for pair in found.sequences)


def test_a_pooling_dialect_pools_the_difference_and_tests_sequences(scored: Scored) -> None:
    found = compare(scored, A, B, "ao", "got10k")
    trackers = {t.name: t for t in scored.trackers}
    of = {name: values(tallies_of(trackers[name]), "ao", factory.dialect("got10k")) for name in (A, B)}
    pooled = {name: sums.sum() / frames.sum() for name, (sums, frames) in of.items()}
    assert found.difference.value == pytest.approx(pooled[A] - pooled[B])
    single = {name: sums / frames for name, (sums, frames) in of.items()}
    assert found.difference.value != pytest.approx((single[A] - single[B]).mean(), abs=1e-6)
    assert found.p == pytest.approx(stats.wilcoxon(single[A] - single[B]).pvalue)


def test_a_sequence_that_does_not_count_for_one_is_left_out(scored: Scored) -> None:
    """lasot_matlab drops sequences whose curve is zero everywhere: those of a box far off the target."""
    first = scored.trackers[0]
    scores = first.protocols["lasot"]
    lost = dict(scores.tallies)
    truth, visible = factory.truth("bird-00")
    away = factory.predicted(A, "bird-00") + np.array([5000.0, 0, 0, 0])
    lost["bird-00"] = tally(away, truth, np.zeros_like(visible), size=factory.SIZE)
    changed = replace(
        scored,
        trackers=(replace(first, protocols={"lasot": replace(scores, seeds=(lost,))}), *scored.trackers[1:]),
    )
    found = compare(changed, A, B, "auc", "lasot_matlab")
    assert "bird-00" not in {pair.name for pair in found.sequences}
    assert len(found.sequences) == factory.SEQUENCES - 1


# What is refused


def test_unknown_names_and_a_tracker_against_itself_are_refused(scored: Scored) -> None:
    with pytest.raises(BadInput, match=r"no scored tracker is called 'SiamStedy': did you mean SiamSteady"):
        compare(scored, "SiamStedy", B, "auc")
    with pytest.raises(BadInput, match="cannot be compared with itself"):
        compare(scored, A, A, "auc")


@pytest.mark.parametrize("allowed", [False, True])
def test_different_sequences_are_refused(scored: Scored, allowed: bool) -> None:
    part = factory.partial(scored, A, 12, allowed)
    with pytest.raises(
        BadInput, match=r"different sequences: only one of them has bird-12, bird-13, bird-14 and 15 more"
    ):
        compare(part, A, B, "auc")


def test_the_same_part_of_the_sequences_needs_leave(scored: Scored) -> None:
    part = factory.partial(factory.partial(scored, A, 12, False), B, 12, False)
    with pytest.raises(BadInput, match=r"are incomplete, 12 of 30 sequences: .*--allow-incomplete"):
        compare(part, A, B, "auc")
    found = compare(replace(part, protocol=replace(part.protocol, allow_incomplete=True)), A, B, "auc")
    assert len(found.sequences) == found.difference.n == 12


# Its tables


def test_the_table_has_a_row_for_every_metric(scored: Scored) -> None:
    found = comparisons(scored, A, B)
    table = comparison_table(result_of(scored), found)
    assert [row.name for row in table.rows] == ["AUC", "P", "P_norm", "OP50", "OP75", "P_norm mean"]
    cells = table.rows[0].cells
    assert cells["difference"].value == pytest.approx(100 * found[0].difference.value)
    assert cells["difference"].resolved
    assert cells["a"].value == pytest.approx(100 * found[0].of_a.value)
    assert cells["wins"].value == found[0].wins
    assert cells["ties"].value == found[0].ties
    assert POOLED not in table.footnotes


@pytest.mark.parametrize(("p", "value", "text"), [(2e-4, 2e-4, None), (9e-5, None, "< 0.0001"), (None, None, None)])
def test_a_small_p_is_only_said_to_be_small(
    scored: Scored, found: Comparison, p: float | None, value: float | None, text: str | None
) -> None:
    cell = comparison_table(result_of(scored), [replace(found, p=p)]).rows[0].cells["p"]
    assert (cell.value, cell.text) == (value, text)


def test_a_pooling_dialect_says_what_each_figure_weighs() -> None:
    scored = factory.scored(main="got10k")
    assert POOLED in table_of(scored, A, B).footnotes


def test_an_unresolved_difference_says_so(scored: Scored) -> None:
    twin = replace(scored.trackers[0], name="twin")
    both = replace(scored, trackers=(*scored.trackers, twin))
    table = table_of(both, A, "twin")
    assert UNRESOLVED in notes_at(table, table.rows[0].cells["difference"])
    assert table.rows[0].cells["difference"].resolved is False


def test_few_sequences_are_warned_of_and_fewer_give_no_verdict() -> None:
    few = factory.scored(6)
    table = table_of(few, A, B)
    assert FEW in notes_at(table, table.rows[0].cells["difference"])
    three = factory.scored(3)
    cell = table_of(three, A, B).rows[0].cells["difference"]
    assert cell.value is not None
    assert (cell.low, cell.resolved) == (None, None)


def test_the_largest_differences_are_signed(scored: Scored, found: Comparison) -> None:
    table = largest_table(result_of(scored), found)
    assert [row.name for row in table.rows] == [pair.name for pair in found.sequences[:10]]
    for row in table.rows:
        a, b, difference = (row.cells[key].value for key in ("a", "b", "difference"))
        assert a is not None and b is not None and difference is not None
        assert difference == pytest.approx(a - b)
        assert row.cells["frames"].value == factory.FRAMES


def test_every_two_trackers_are_compared_by_the_primary_metric(scored: Scored, found: Comparison) -> None:
    table = pair_table(result_of(scored), scored.protocol)
    assert table is not None
    assert [row.name for row in table.rows] == [f"{A} against {B}", f"{A} against StaticBox", f"{B} against StaticBox"]
    cells = table.rows[0].cells
    assert cells["difference"].value == pytest.approx(100 * found.difference.value)
    assert cells["wins"].value == found.wins
    one = replace(scored, trackers=scored.trackers[:1])
    assert pair_table(result_of(one), one.protocol) is None
