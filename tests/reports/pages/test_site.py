"""The site over a store: what is in it has a page, what is absent or failed is named, and a thousand runs are quick."""

import html
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import store_factory
import trackablate
from stored_files import rewrite
from trackablate.ablations.catalogue import STUDIES
from trackablate.harness.cli import app
from trackablate.harness.profiles import load_profile
from trackablate.harness.store import Store
from trackablate.reports.pages import site
from trackablate.reports.pages.site import write_site

SMOKE = load_profile("smoke")
BUSY = 60.0
"""Seconds of processor time: 10 on an idle machine; what grows faster than the number of runs takes minutes."""
MANY = replace(STUDIES["table3"], name="many", seeds=250)


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def half_done(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("store") / "store")
    store_factory.fill(store, STUDIES["table3"], SMOKE, unfinished=("ce-conv",), failed="decoder")
    return store


def test_a_half_finished_study_says_what_is_absent_and_what_failed(half_done: Store, tmp_path: Path) -> None:
    index, page = write_site(half_done, tmp_path, [STUDIES["table3"]], ["smoke", "mini"])
    assert page == tmp_path / "table3-smoke" / "index.html"
    assert "4 of 6 runs, 1 failed" in text(index)
    assert "&lt;b&gt;out of memory&lt;/b&gt;" in text(index)
    assert 'href="table3-smoke/index.html"' in text(index)
    assert re.search(r"AO \d+\.\d \[\d+\.\d, \d+\.\d\], synthetic-smoke", text(index))
    assert "ce-conv on synthetic-smoke: incomplete: 0 of 4 sequences" in text(page)
    assert "decoder on synthetic-smoke: failed: &lt;b&gt;out of memory&lt;/b&gt;" in text(page)
    assert 'id="viewer"' in text(page)


def test_every_link_of_every_page_leads_somewhere(half_done: Store, tmp_path: Path) -> None:
    pages = write_site(half_done, tmp_path, [STUDIES["table3"]])
    links = [(page, html.unescape(link)) for page in pages for link in re.findall(r'href="([^"]*)"', text(page))]
    followed = [(page, *link.partition("#")[::2]) for page, link in links if not link.startswith("data:")]
    assert {page for page, *_ in followed} == set(pages)
    for page, file, anchor in followed:
        target = page.parent / file if file else page
        assert target.is_file(), (page, file)
        assert not anchor or f' id="{anchor}"' in text(target), (page, anchor)
    told = "<code>python -m harness report table3 --profile smoke --seeds 1</code> also writes table.tex, table.md,"
    assert told in text(pages[1])


def test_a_finished_study_is_done_and_the_same_store_gives_the_same_bytes(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store_factory.fill(store, STUDIES["head"], SMOKE)
    first = write_site(store, tmp_path / "a", [STUDIES["head"]])
    again = write_site(store, tmp_path / "b", [STUDIES["head"]])
    assert [page.read_bytes() for page in first] == [page.read_bytes() for page in again]
    assert '<td class="words">done</td>' in text(first[0])


def test_only_what_has_changed_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, studies = Store(tmp_path / "store"), [STUDIES["head"], STUDIES["table3"]]
    for study in studies:
        store_factory.fill(store, study, SMOKE)
    pages = write_site(store, tmp_path / "out", studies)
    before = {page: (page.read_bytes(), page.stat().st_mtime_ns) for page in pages}
    drawn: list[str] = []
    whole = site.assemble
    monkeypatch.setattr(site, "assemble", lambda study, *rest: drawn.append(study.name) or whole(study, *rest))
    assert write_site(store, tmp_path / "out", studies) == pages
    assert {page: (page.read_bytes(), page.stat().st_mtime_ns) for page in pages} == before
    assert not drawn
    decoder = next(folder for folder in store.runs() if "deformable" in folder.run.slug and "-ce-" in folder.run.slug)
    decoder.set_failure(store_factory.failure("lightning"))
    write_site(store, tmp_path / "out", studies)
    assert drawn == ["table3"]
    assert text(pages[0]).count("lightning") == 2
    assert pages[1].read_bytes() == before[pages[1]][0]
    pages[1].write_text("cut off")
    write_site(store, tmp_path / "out", studies)
    assert drawn == ["table3", "head"]
    assert pages[1].read_bytes() == before[pages[1]][0]
    write_site(store, tmp_path / "out", studies[:1])
    assert drawn == ["table3", "head"], "the index alone is another one"


def test_the_best_variants_are_those_of_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = store_factory.factory.predicted
    monkeypatch.setattr(store_factory.factory, "predicted", lambda row, name, noise: boxes("the same", name, noise))
    store = Store(tmp_path / "store")
    store_factory.fill(store, STUDIES["table3"], SMOKE, unfinished=("ce-conv",))
    index, page = write_site(store, tmp_path, [STUDIES["table3"]])
    assert '<td class="words">conv, decoder, ce-decoder</td>' in text(index)
    assert "conv (the baseline), decoder and ce-decoder have the highest" in text(page)


def test_a_run_of_a_plugin_is_listed_and_the_rest_is_rendered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its head is not known here: no plugin is loaded. Neither page nor message says that the run is damaged."""
    store = Store(tmp_path / "store")
    store_factory.fill(store, STUDIES["head"], SMOKE)
    store_factory.fill(store, STUDIES["table3"], SMOKE)
    (own,) = (store.root / "runs").glob("*-mlp-*")
    rewrite(own / "spec.json", lambda document: document["tracker"]["head"].update(kind="two-linear"))
    pages = write_site(store, tmp_path / "out", [STUDIES["head"], STUDIES["table3"]])
    assert [page.parent.name for page in pages] == ["out", "table3-smoke"]
    told = "has the head 'two-linear' of a plugin: name the plugin's file with --plugin FILE"
    assert told in html.unescape(text(pages[0]))
    assert "no page for head-smoke" in caplog.text
    assert told in caplog.text
    table = trackablate.results(store)
    assert told in table.loc[table["run"] == own.name, "reason"].item()
    assert table["value"].notna().any()


def test_an_empty_store_has_an_index_that_says_so(tmp_path: Path) -> None:
    (index,) = write_site(Store(tmp_path / "store"), tmp_path, list(STUDIES.values()))
    assert "No run of a known study is in this store" in text(index)
    assert "No run is in this store" in text(index)


def test_the_command_names_what_it_wrote_and_refuses_what_is_no_store(half_done: Store, tmp_path: Path) -> None:
    words = ["site", "--store", str(half_done.root), "--out", str(tmp_path), "--study", "table3", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "table3-smoke/index.html" in done.stdout
    assert CliRunner().invoke(app, ["site", "--store", str(tmp_path / "none")]).exit_code == 2


@pytest.mark.slow
def test_a_thousand_runs_are_rendered_in_seconds(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert store_factory.fill(store, MANY, SMOKE) == 1002
    begun = time.process_time()
    index, _ = write_site(store, tmp_path, [MANY])
    seconds = time.process_time() - begun
    assert text(index).count('<th scope="row"') == 1003
    assert ">done<" in text(index)
    assert seconds < BUSY, f"{seconds:.1f} s of processor time"
