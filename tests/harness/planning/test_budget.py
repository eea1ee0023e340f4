"""What a budget is, and which rows fit it."""

import pytest

from trackablate.harness.errors import BadInput
from trackablate.harness.planning.budget import Budget, Candidate, choose, parse_budget


@pytest.mark.parametrize(
    ("text", "kind", "seconds"),
    [("20gpuh", "device", 72_000), ("90min", "wall", 5400), ("2h", "wall", 7200), (" 1.5 GPUh", "device", 5400)],
)
def test_budgets_are_read(text: str, kind: str, seconds: float) -> None:
    assert parse_budget(text) == Budget(seconds, of_device=kind == "device")


@pytest.mark.parametrize("text", ["", "20", "h", "-2h", "0min", "2 days", "1e3h", "2h30min"])
def test_what_is_no_budget_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(BadInput, match="20gpuh"):
        parse_budget(text)


ROWS = [
    Candidate("plain", ("conv", "no"), True, 0, 10),
    Candidate("wide", ("conv", "no"), False, 0, 5),
    Candidate("both", ("decoder", "yes"), False, 0, 30),
    Candidate("sparse", ("conv", "yes"), False, 0, 10),
    Candidate("decoder", ("decoder", "no"), False, 2, 20),
]
SECONDS = {row.name: row.seconds for row in ROWS}


def within(budget: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    chosen = choose(ROWS, lambda names: sum(SECONDS[name] for name in names) <= budget)
    return tuple(chosen), tuple(row.name for row in ROWS if row.name not in chosen)


def test_the_row_that_shows_most_is_taken_first() -> None:
    assert within(40) == (("plain", "both"), ("wide", "sparse", "decoder")), "both shows two new values"
    assert within(75) == (("plain", "both", "decoder", "wide", "sparse"), ())


def test_among_equals_the_shared_row_then_the_cheapest() -> None:
    assert within(30)[0] == ("plain", "decoder"), "both does not fit; decoder and sparse show one value each"
    assert within(29)[0] == ("plain", "sparse", "wide")


def test_without_the_baseline_nothing_is_chosen() -> None:
    assert within(9) == ((), ("plain", "wide", "both", "sparse", "decoder"))
