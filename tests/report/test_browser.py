"""The page in a real browser: Debian's ``chromium`` and ``chromium-driver``."""

import json
import shutil

import pytest
from faults import Planter
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from support import SMALL, kseg_train, make_photos

from kseg.data.check import check_data
from kseg.report.data_page import render_data
from kseg.report.page import render, write_page
from kseg.settings import DataSettings

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

BROKEN = "return [...document.images].filter(i => !(i.complete && i.naturalWidth > 0)).map(i => i.alt)"
WIDER = """
    const boxes = [...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll, nav, pre, svg"));
    return boxes.filter(e => e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.outerHTML.slice(0, 80))
"""
CONTRAST = """
    const parts = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number)
    const light = text => parts(text).map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0)
    const ground = e => {
        const colour = getComputedStyle(e).backgroundColor
        return colour === "rgba(0, 0, 0, 0)" && e.parentElement ? ground(e.parentElement) : colour
    }
    const texts = [...document.querySelectorAll("h1, h2, h3, h4, p, dt, dd, figcaption, a, summary, th, small, code")]
    return Math.min(...texts.map(e => [light(getComputedStyle(e).color), light(ground(e))])
        .map(([a, b]) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)))
"""
"""The least contrast of a text with what is behind it, by WCAG 2.1's formula; the shaded cells are seen to by hand."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if missing := [name for name, path in programs.items() if path is None]:
        pytest.skip(f"{' and '.join(missing)} not installed (apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(programs["chromedriver"]))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory, report_of, evaluation_of):
    """Pages by name: all sections, 21 classes with long names, and nothing in it."""
    folder = tmp_path_factory.mktemp("pages")
    long = {
        "evaluation": evaluation_of([f"class_{'with_a_long_name' * 9}_{i}" for i in range(21)]),
        "title": "run" * 60,
    }
    empty = {"evaluation": evaluation_of(photos=0), "galleries": {}, "history": ()}
    for name, changes in (("full", {}), ("long", long), ("empty", empty)):
        write_page(folder / f"{name}.html", render(report_of(**changes)))
    return {path.stem: path.as_uri() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def real_page(real_data, tmp_path_factory):
    """What a short training on real photos of people ends with."""
    home = tmp_path_factory.mktemp("real")
    (home / "small.toml").write_text("")
    options = ("--set", "training.epochs=2", "--set", "training.steps_per_epoch=15", "--run", "run")
    done = kseg_train("small.toml", "--data", real_data / "people", *SMALL, *options, cwd=home)
    assert done.returncode == 0, done.stderr
    return (home / "run" / "evaluation" / "report.html").as_uri()


@pytest.fixture(scope="module")
def data_page(tmp_path_factory):
    """What kseg-data check writes of photos with faults of every kind."""
    root = make_photos(tmp_path_factory.mktemp("data") / "photos", 60, 160, 128)
    Planter(root).plant_all()
    path = root.with_name("report.html")
    path.write_text(render_data(check_data(DataSettings(roots=(root,))), "photos"))
    return path.as_uri()


def requested(driver):
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}


def show(driver, url, width, theme):
    feature = {"name": "prefers-color-scheme", "value": theme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get("about:blank")
    for log in ("browser", "performance"):
        driver.get_log(log)
    driver.get(url)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("name", ["full", "long", "empty"])
def test_looks_right(browser, pages, name, width, theme):
    require_right(browser, pages[name], width, theme)


@pytest.mark.parametrize(("width", "theme"), [(360, "dark"), (1280, "light")])
def test_the_report_of_a_real_run_looks_right(browser, real_page, width, theme):
    require_right(browser, real_page, width, theme)
    assert browser.execute_script("return document.images.length") > 12


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_of_faulty_data_looks_right(browser, data_page, width, theme):
    require_right(browser, data_page, width, theme)
    assert browser.execute_script("return document.images.length") > 12


def require_right(browser, url, width, theme):
    """Neither error, request, broken picture, sideways scrolling nor pale text."""
    show(browser, url, width, theme)
    assert browser.get_log("browser") == []
    assert {asked for asked in requested(browser) if not asked.startswith("data:")} == {url}
    assert browser.execute_script(BROKEN) == []
    scrolled, inner = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert scrolled <= inner == width
    assert browser.execute_script(WIDER) == []
    assert browser.execute_script(CONTRAST) >= 4.5
    dark = browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(18, 21, 27)"
    assert dark == (theme == "dark")


def test_charts_take_the_themes_colours_and_the_pages_font(browser, pages):
    seen = {}
    for theme in ("light", "dark"):
        show(browser, pages["full"], 1280, theme)
        seen[theme] = browser.execute_script(
            "const of = (e, what) => getComputedStyle(document.querySelector(e))[what];"
            "const font = of('svg text', 'fontFamily') === of('body', 'fontFamily');"
            "return [of('svg text', 'fill'), of('body', 'color'), font]"
        )
    assert all(fill == ink and same_font for fill, ink, same_font in seen.values())
    assert seen["light"] != seen["dark"]
