"""The study page and the site in a real browser: no console errors, tables sort and filter, plots say their values, the
viewer scrubs, keys do what the mouse does, and the page is whole without its script."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import report_factory as factory
from browser import chromium, needs_chromium
from trackablate.reports.pages.write import write_report

pytestmark = needs_chromium
AO_HEAD = "#table thead tr:nth-child(2) th:nth-child(3)"
NASTY = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>\' " &'


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page")
    write_report(factory.study_result(), out, ("html",))
    return out / "index.html"


@pytest.fixture
def opened(driver: Any, page: Path) -> Any:
    driver.get(page.as_uri())
    unfold(driver)
    return driver


def unfold(driver: Any) -> None:
    driver.execute_script("document.querySelector('.whole').open = true")


@contextmanager
def width(driver: Any, pixels: int) -> Iterator[None]:
    size = {"width": pixels, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        yield
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def console(driver: Any) -> list[str]:
    return [entry["message"] for entry in driver.get_log("browser")]


def row_names(driver: Any) -> list[str]:
    """The shown rows of the first table, as they stand."""
    names: list[str] = driver.execute_script(
        "return [...document.querySelector('#table tbody').rows].filter((row) => !row.hidden)"
        ".map((row) => row.cells[0].childNodes[0].textContent)"
    )
    return names


def press(driver: Any, css: str, *keys: str) -> None:
    from selenium.webdriver.common.by import By

    element = driver.find_element(By.CSS_SELECTOR, css)
    for key in keys:
        element.send_keys(key)


def click(driver: Any, css: str) -> None:
    driver.execute_script("document.querySelector(arguments[0]).click()", css)


def test_the_console_stays_empty(driver: Any, page: Path) -> None:
    console(driver)
    driver.get(page.as_uri())
    assert console(driver) == []
    assert driver.find_elements("css selector", "button.sort")


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_table_that_goes_on_behind_the_edge_shows_it(driver: Any, page: Path, mode: str) -> None:
    """A wide one scrolls by itself; a shade at its edge says so, until its end is reached."""
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": mode}]}
    )
    with width(driver, 560):
        driver.get(page.as_uri())
        table = driver.find_element("css selector", "#failures .scroll")
        hidden = driver.execute_script("return arguments[0].scrollWidth - arguments[0].clientWidth", table)
        assert hidden > 0
        assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", table)
        shades = []
        for left in (0, hidden):
            driver.execute_script("arguments[0].scrollLeft = arguments[1]", table, left)
            picture = cv2.imdecode(np.frombuffer(table.screenshot_as_png, np.uint8), cv2.IMREAD_GRAYSCALE).astype(int)
            edge, paper = np.median(picture[150:-40, -3]), np.median(picture[150:-40, 3])
            shades.append(abs(edge - paper))
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert shades[0] > 30
    assert shades[1] < 3


@pytest.mark.parametrize(("pixels", "shown"), [(1050, ".results"), (700, "#results .results")])
def test_tables_fit_the_window(opened: Any, pixels: int, shown: str) -> None:
    """All of them at 1050 px, the short one at 700 px."""
    with width(opened, pixels):
        cut = (
            "return [...document.querySelectorAll(arguments[0])].map((table) => table.parentElement)"
            ".filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.ariaLabel)"
        )
        assert opened.execute_script(cut, shown) == []
        assert opened.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_the_short_table_answers_and_a_footnote_unfolds_the_whole_one(driver: Any, page: Path) -> None:
    driver.get(page.as_uri())
    heads = [th.text.split()[0] for th in driver.find_elements("css selector", "#results thead th") if th.text]
    assert heads[:4] == ["Row", "synthetic-thermal", "measured,", "synthetic"]
    assert heads[4:] == ["published,", "AO", "Difference", "Verdict", "Training", "Peak", "FPS", "AO"]
    row = driver.find_element("css selector", "#results tbody tr:nth-child(2)").text
    assert re.search(r"^decoder.* 83\.7.* \+[\d.]+ better", row.replace("\n", " "))
    assert not driver.find_element("css selector", "#table").is_displayed()
    driver.find_element("css selector", "#results sup a").click()
    assert driver.find_element("css selector", "#note-a").is_displayed()


def test_a_printed_page_has_every_column(driver: Any, page: Path) -> None:
    driver.get(page.as_uri())
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    seen = driver.execute_script("return document.querySelector('#table .results').checkVisibility()")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert seen


def test_a_column_sorts_by_its_numbers_and_back(opened: Any) -> None:
    before = row_names(opened)
    for direction, first in (("descending", "decoder"), ("ascending", "static")):
        click(opened, f"{AO_HEAD} .sort")
        assert opened.find_element("css selector", AO_HEAD).get_attribute("aria-sort") == direction
        assert row_names(opened)[0] == first
        assert f"sorted by AO, {direction}" in opened.find_element("css selector", ".unseen").get_attribute(
            "textContent"
        )
    click(opened, f"{AO_HEAD} .sort")
    assert opened.find_element("css selector", AO_HEAD).get_attribute("aria-sort") is None
    assert row_names(opened) == before


def test_sorting_works_from_the_keyboard_and_missing_figures_stay_last(driver: Any, tmp_path: Path) -> None:
    write_report(factory.failed(factory.study_result(), "conv"), tmp_path, ("html",))
    driver.get((tmp_path / "index.html").as_uri())
    unfold(driver)
    for _ in range(2):
        press(driver, f"{AO_HEAD} .sort", "\ue007")
        assert row_names(driver)[-1] == "conv"


def test_roles_and_words_filter_the_rows(opened: Any) -> None:
    roles = opened.find_elements("css selector", "#table .tools > label input[type=checkbox]")
    assert len(roles) == 3
    roles[1].click()
    assert row_names(opened) == ["conv", "decoder", "ce-conv", "ce-decoder", "shuffled-template"]
    press(opened, "#table .tools input[type=search]", "deformable")
    assert row_names(opened) == ["decoder", "ce-decoder"]
    assert opened.find_element("css selector", "#table .tools output").text == "2 of 7 rows"


def test_a_group_of_columns_can_be_hidden(opened: Any) -> None:
    shown = "return [...document.querySelectorAll('#table th, #table td')].filter((c) => c.offsetParent).length"
    before = opened.execute_script(shown)
    click(opened, "#table .columns summary")
    click(opened, "#table .columns input")
    heads = opened.find_elements("css selector", "#table th.group")
    assert [head.is_displayed() for head in heads].count(False) == 1
    assert opened.execute_script(shown) < before
    click(opened, "#table .columns input")
    assert opened.execute_script(shown) == before


def test_a_plot_says_the_value_at_the_pointer(opened: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    mark = opened.execute_script(
        "const figure = document.getElementById('success');"
        "figure.scrollIntoView();"
        "const cell = figure.querySelectorAll('.marks tbody tr')[10].cells[2];"
        "const svg = figure.querySelector('.paper svg');"
        "const at = new DOMPoint(+cell.dataset.x, +cell.dataset.y).matrixTransform(svg.getScreenCTM());"
        "return [cell.textContent, Math.round(at.x), Math.round(at.y)]"
    )
    pointer = ActionChains(opened)
    pointer.w3c_actions.pointer_action.move_to_location(mark[1], mark[2])
    pointer.perform()
    tip = opened.find_element("css selector", "#success .tip")
    assert tip.is_displayed()
    assert tip.text.split(": ")[1][:4].replace(".", "").isdigit()
    assert "overlap threshold 0.5" in tip.text


def test_arrow_keys_read_the_values_of_a_plot(opened: Any) -> None:
    press(opened, "#success .paper", "\ue014")
    tip = opened.find_element("css selector", "#success .tip")
    assert tip.text.startswith("conv overlap threshold 0:")
    press(opened, "#success .paper", "\ue014", "\ue015")
    assert tip.text.startswith("decoder overlap threshold 0.05:")
    cell = opened.find_element("css selector", "#success .marks tbody tr:nth-child(2) td:nth-child(3)")
    assert cell.get_attribute("textContent") in tip.text
    press(opened, "#success .paper", "\ue00c")
    assert not tip.is_displayed()


def test_the_viewer_scrubs_and_shows_boxes_and_overlaps(opened: Any) -> None:
    boxes = "return [...document.querySelectorAll('.stage rect')].map((r) => r.getAttribute('x'))"
    first = opened.execute_script(boxes)
    press(opened, ".scrub input", "\ue014", "\ue014", "\ue014")
    said = opened.find_element("css selector", ".beside-stage output").text
    assert said == "frame 3 of 39; picture of frame 0, the nearest that is kept"
    assert opened.execute_script(boxes) != first
    now = [element.text for element in opened.find_elements("css selector", ".now")]
    assert len(now) == 7
    assert all(0 <= float(text) <= 1 for text in now)
    assert "IoU conv" in opened.find_element("css selector", ".stage").get_attribute("aria-label")
    press(opened, ".stage", "\ue014")
    assert opened.find_element("css selector", ".overlap .mark").get_attribute("x1") == "4"


def test_the_viewer_hides_boxes_and_changes_the_sequence(opened: Any) -> None:
    shown = (
        "return [...document.querySelectorAll('.stage .predicted')].filter((r) => r.style.display !== 'none').length"
    )
    assert opened.execute_script(shown) == 7
    click(opened, ".line input")
    assert opened.execute_script(shown) == 6
    press(opened, ".choice select", "\ue015")
    assert opened.execute_script(shown) == 6
    label = opened.find_element("css selector", ".stage").get_attribute("aria-label")
    assert label.startswith(
        f"Frame 0 of {opened.find_elements('css selector', '.choice option')[1].text.split(':')[0]}"
    )


def test_the_viewer_plays_and_pauses(opened: Any) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    click(opened, ".play")
    WebDriverWait(opened, 10).until(
        lambda d: int(d.execute_script("return document.querySelector('.scrub input').value")) > 2
    )
    click(opened, ".play")
    assert opened.find_element("css selector", ".play").text == "Play"


def test_names_with_markup_run_nothing(driver: Any, tmp_path: Path) -> None:
    result = factory.study_result()
    study = replace(result.study, title=NASTY, question=NASTY)
    rows = (*result.rows[:1], replace(result.rows[1], name=NASTY, cells=(NASTY, NASTY)), *result.rows[2:])
    write_report(replace(result, study=study, rows=rows, missing=(NASTY,), command=NASTY), tmp_path, ("html",))
    console(driver)
    driver.get((tmp_path / "index.html").as_uri())
    unfold(driver)
    press(driver, "#success .paper", "\ue014", "\ue015")
    press(driver, ".scrub input", "\ue014")
    assert driver.execute_script("return window.owned") is None
    assert console(driver) == []
    assert NASTY in driver.find_element("css selector", "#table").text.replace("\n", " ")


def test_another_script_does_not_run(driver: Any, page: Path, tmp_path: Path) -> None:
    text = page.read_text().replace("<h1>", "<script>window.owned=1</script><h1>", 1)
    (tmp_path / "index.html").write_text(text)
    driver.get((tmp_path / "index.html").as_uri())
    assert driver.execute_script("return window.owned") is None
    assert any("Content Security Policy" in message for message in console(driver))


def test_without_script_the_page_is_whole(driver: Any, page: Path) -> None:
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get(page.as_uri())
        assert "83.7" in driver.find_element("css selector", "#results").text
        driver.find_element("css selector", ".whole > summary").click()
        assert "83.7" in driver.find_element("css selector", "#table").text
        assert not driver.find_element("css selector", "#viewer").is_displayed()
        assert len(driver.find_elements("css selector", ".strip")) == 8
        assert not driver.find_elements("css selector", "button.sort")
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(opened: Any, scheme: str) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    colours = opened.execute_script(
        "const of = (css, key) => getComputedStyle(document.querySelector(css))[key];"
        "const paper = of('body', 'backgroundColor');"
        "return [['body', 'color'], ['.legend', 'color'], ['td.better .value', 'color'], ['td.worse .value', 'color'],"
        " ['td.few .value', 'color'], ['td.few .interval', 'color'], ['tr.floor td', 'color'], ['figcaption', 'color']]"
        ".map(([css, key]) => [of(css, key), paper]).concat([[of('.caveat', 'color'), of('.caveat', 'backgroundColor')]])"
    )
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    for ink, paper in colours:
        assert contrast(ink, paper) >= 4.5, (ink, paper)


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as WCAG 2 defines it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_everything_has_a_name_for_screen_readers(opened: Any) -> None:
    unnamed = opened.execute_script(
        "return [...document.querySelectorAll('button, input, select, [role=img], [role=application], [role=region], nav')]"
        ".filter((e) => !(e.textContent.trim() || e.ariaLabel || e.labels?.length)).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert unnamed == []
    assert len(opened.find_elements("css selector", "main")) == 1
    assert opened.find_element("css selector", "a.skip").get_attribute("hash") == "#results"
    assert opened.find_element("css selector", "html").get_attribute("lang") == "en"
