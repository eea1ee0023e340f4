"""A real headless Chromium for the tests of pages, driven through the DevTools protocol by selenium."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BINARY = os.environ.get("CHROMIUM") or shutil.which("chromium")
DRIVER = os.environ.get("CHROMEDRIVER") or shutil.which("chromedriver")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)

webdriver = pytest.importorskip("selenium.webdriver", reason="NOT TESTED: selenium is not installed, pages unchecked")
needs_chromium = pytest.mark.skipif(
    not (BINARY and DRIVER), reason="NOT TESTED: chromium and chromedriver are not installed, pages unchecked"
)


@contextmanager
def chromium(profile: Path) -> Iterator["webdriver.Chrome"]:
    """A browser with a fresh profile in an empty folder; its console is kept."""
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BINARY
    for flag in (*FLAGS, f"--user-data-dir={profile}", "--window-size=1400,1000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()
