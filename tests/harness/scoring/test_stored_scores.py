"""Stored boxes that are cut to integers before they are scored, as official result files are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import store_factory
from trackablate.ablations.catalogue import STUDIES
from trackablate.harness.cli.launching import StudyRequest
from trackablate.harness.profiles import load_profile
from trackablate.harness.scoring.metrics import tally
from trackablate.harness.scoring.stored_scores import stored_scores
from trackablate.harness.spec import Evaluation
from trackablate.harness.store import Store
from trackablate.reports.assemble import assemble
from trackablate.reports.tables.accuracy import TRUNCATED
from trackablate.reports.tables.pivot import pivot

STUDY, SMOKE = STUDIES["table3"], load_profile("smoke")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    found = Store(tmp_path_factory.mktemp("stored") / "store")
    store_factory.fill(found, STUDY, SMOKE)
    return found


def test_a_report_of_cut_boxes_says_so(store: Store) -> None:
    record = next(iter(store.studies()))
    whole, cut = (assemble(STUDY, record, store, truncate=truncate) for truncate in (False, True))
    assert TRUNCATED in pivot(cut).footnotes
    assert TRUNCATED not in pivot(whole).footnotes
    (protocol,) = cut.protocols
    figures = [result.rows[0].percent(result.protocols[0], "ao") for result in (whole, cut)]
    assert protocol.truncated
    assert figures[0] != figures[1]


@pytest.mark.parametrize("origin", [0, 1])
def test_boxes_are_cut_in_the_numbers_of_the_data_sets_files(store: Store, origin: int) -> None:
    record = next(iter(store.studies()))
    run = next(planned.run for row in record.rows for planned in row.runs)
    (name, digest), *_ = record.digests.items()
    (protocol,) = (one for one in store.protocols(name) if one.digest == digest)
    protocol = protocol.model_copy(update={"origin": origin})
    evaluation, folder = Evaluation(protocol=name, data=digest), store.run(run)
    whole, cut = (stored_scores(folder, evaluation, protocol, truncate=truncate) for truncate in (False, True))
    shift = np.array([origin, origin, 0, 0])
    for facts in protocol.sequences:
        stored = np.array(whole[facts.name].result.boxes)
        assert cut[facts.name].result.boxes == whole[facts.name].result.boxes, "the stored boxes stay as they are"
        integers = np.trunc(stored + shift) - shift
        truth, visible = np.array(facts.boxes), np.array(facts.visible)
        for boxes, found in ((stored, whole), (integers, cut)):
            wanted = tally(boxes, truth, visible, origin=origin, size=facts.size, treatments=()).measured["plain"]
            assert found[facts.name].tally.measured["plain"].overlap.tolist() == wanted.overlap.tolist()
        assert not np.array_equal(stored, integers)


def test_the_command_of_the_report_repeats_it() -> None:
    request = StudyRequest("table3", "mini", [], [], [], Path("store"), truncate=True)
    assert request.command.endswith("--truncate")
    assert "--truncate" not in replace(request, truncate=False).command
