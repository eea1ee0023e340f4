"""Fingerprints hash what differs from the defaults: a new field with a default changes no stored run."""

from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, create_model

from examples import DATA, PLAIN, RECIPE
from trackablate.ablations.catalogue import STUDIES
from trackablate.harness.spec import Evaluation, RunSpec
from trackablate.trackers.spec import Frozen, TrackerSpec, fingerprint
from trackablate.trackers.variants import VARIANTS

RUN = RunSpec(tracker=PLAIN, recipe=RECIPE, data=DATA, weights="abc")
SPECS: list[TrackerSpec] = [*VARIANTS.values(), *(s.spec(row) for s in STUDIES.values() for row in s.rows)]
TRACKERS = st.sampled_from(SPECS)
NUMBERS = st.integers(1, 10**6)


class Small(Frozen):
    kind: Literal["small"] = "small"
    width: int = 4


class Large(Frozen):
    kind: Literal["large"] = "large"
    width: int = 4


class Outer(Frozen):
    inner: Small | Large = Field(default=Small(), discriminator="kind")
    none: Small | None = None
    sizes: tuple[int, ...] = (1, 2)
    revision: int = 2


@given(TRACKERS, TRACKERS)
def test_equal_exactly_where_all_stored_fields_are_equal(one: TrackerSpec, other: TrackerSpec) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (one.model_dump() == other.model_dump())


@given(TRACKERS, NUMBERS, NUMBERS)
def test_what_is_read_back_has_the_same_fingerprint(tracker: TrackerSpec, steps: int, seed: int) -> None:
    run = RUN.model_copy(
        update={"tracker": tracker, "seed": seed, "recipe": RECIPE.model_copy(update={"steps": steps})}
    )
    assert RunSpec.model_validate_json(run.model_dump_json()).fingerprint == run.fingerprint


@pytest.mark.parametrize("name", sorted(set(RunSpec.model_fields) - {"tracker", "recipe", "data"}))
def test_a_default_that_is_set_is_a_default(name: str) -> None:
    default = RunSpec.model_fields[name].default
    assert RunSpec.model_validate({"tracker": PLAIN, name: default}).fingerprint == RunSpec(tracker=PLAIN).fingerprint


@given(st.sampled_from([type(RUN.recipe), type(RUN.data), TrackerSpec, RunSpec, Evaluation]))
def test_a_new_field_with_a_default_changes_nothing_and_another_value_does(model: Any) -> None:
    values = {RunSpec: RUN, TrackerSpec: PLAIN, Evaluation: Evaluation(protocol="otb", data="1")}
    old = values.get(model) or (RUN.recipe if model is type(RUN.recipe) else RUN.data)
    assert old is not None
    newer = create_model("Newer", __base__=model, later=(int | None, None))
    fields = {name: getattr(old, name) for name in model.model_fields}
    assert fingerprint(newer(**fields)) == fingerprint(old)
    assert fingerprint(newer(**fields, later=1)) != fingerprint(old)


def test_the_kind_of_an_inner_value_counts_though_it_is_its_default() -> None:
    assert fingerprint(Outer(inner=Large())) != fingerprint(Outer())
    assert fingerprint(Outer(inner=Small())) == fingerprint(Outer())
    assert fingerprint(Outer(none=Small())) != fingerprint(Outer())
    assert fingerprint(Outer(inner=Large(width=5))) != fingerprint(Outer(inner=Large()))
    assert fingerprint(Outer(sizes=(2, 1))) != fingerprint(Outer(sizes=(1, 2)))


def test_a_raised_revision_counts_though_it_is_the_new_default() -> None:
    class Raised(Outer):
        revision: int = 3

    assert fingerprint(Raised()) != fingerprint(Outer())
    assert fingerprint(Raised(revision=2)) == fingerprint(Outer())


def test_plugins_may_use_any_type_that_pydantic_can_write() -> None:
    class Inner(Frozen):
        x: int = 1

    class Odd(Frozen):
        place: Path = Path("a")
        names: frozenset[str] = frozenset({"b", "a"})
        inner: dict[str, Inner] = Field(default_factory=lambda: {"one": Inner()})
        many: list[Inner] = Field(default_factory=list)
        flag: bool | int = True

    assert fingerprint(Odd()) == fingerprint(Odd(names=frozenset({"a", "b"})))
    others = [Odd(place=Path("b")), Odd(names=frozenset("c")), Odd(inner={"one": Inner(x=2)}), Odd(many=[Inner()])]
    others += [Odd(flag=1), Odd(flag=False)]
    assert len({fingerprint(odd) for odd in (Odd(), *others)}) == len(others) + 1
