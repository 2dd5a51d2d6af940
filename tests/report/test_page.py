"""The page as a whole: classes, themes, narrow windows, people who do not point; pictures of it are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.drawn_predictions import write_drawn_predictions

from seamseg.report import open_material, write_report

SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
"""Ignored by git; to be looked at."""

VIEWS = {"grid": "", "image": "#image=000002", "classes": "#view=classes"}

# Text whose contrast (WCAG 2) against what is behind it is below 4.5.
FAINT = """() => {
  const parse = color => color.match(/[\\d.]+/g).map(Number);
  const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => [r, g, b].map(v => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = node => {
    for (let at = node; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("body *")].filter(node => node.checkVisibility() &&
      [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim()))
    .map(node => {
      const [one, other] = [parse(getComputedStyle(node).color), behind(node)].map(light);
      return [node.textContent.trim(), (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)];
    })
    .filter(([, ratio]) => ratio < 4.5);
}"""


def background(page: Any) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1360])
def test_it_can_be_read_in_every_light_and_window(
    open_page: Any, scored_report: Path, view: str, scheme: str, width: int
) -> None:
    page = open_page(scored_report, VIEWS[view], width=width, height=860, color_scheme=scheme)
    page.wait_for_selector({"grid": ".card img", "image": ".panel canvas", "classes": ".classes td"}[view])
    assert page.evaluate(FAINT) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    file = SCREENSHOTS / f"{view}-{scheme}-{width}.png"
    page.screenshot(path=str(file))
    picture = cv2.imread(str(file))
    assert picture.shape == (860, width, 3)
    assert (np.median(picture[::4, ::4]) < 60) == (scheme == "dark")
    assert len(np.unique(picture[::4, ::4].reshape(-1, 3) @ (1, 256, 65536))) > 50


def test_the_theme_can_be_chosen_and_is_kept(open_page: Any, scored_report: Path) -> None:
    page = open_page(scored_report, color_scheme="light")
    light = background(page)
    page.get_by_label("Theme").select_option("dark")
    dark = background(page)
    assert dark != light
    page.reload()
    assert background(page) == dark
    page.get_by_label("Theme").select_option("light")
    page.emulate_media(color_scheme="dark")
    assert background(page) == light
    page.get_by_label("Theme").select_option("as the system")
    assert background(page) == dark


def test_nothing_moves_for_those_who_do_not_want_it(open_page: Any, scored_report: Path) -> None:
    moving = "getComputedStyle(document.querySelector('.card a')).transitionDuration"
    assert open_page(scored_report).evaluate(moving) != "0s"
    assert open_page(scored_report, reduced_motion="reduce").evaluate(moving) == "0s"


def test_scores_of_classes(open_page: Any, scored_report: Path) -> None:
    page = open_page(scored_report, "#view=classes")
    first = "[...document.querySelectorAll('.classes tbody th a')].map(link => link.textContent)"
    assert page.evaluate(first) == ["car", "person", "sky", "road"]
    row = page.locator("tr[data-class=car]")
    assert row.locator("td").all_inner_texts()[:3] == ["36.0", "90.0", "40.0"]
    assert row.locator("td").all_inner_texts()[-6:] == ["2", "0", "1", "3", "1", "0"]  # kinds of FN, FP and its kinds
    assert row.locator(".hidden-text").text_content() == "2 matched, 1 localization, 0 classification, 2 missed"
    bar = row.locator(".with-bar .bar").first
    assert bar.locator(".bar-part").bounding_box()["width"] == pytest.approx(0.36 * bar.bounding_box()["width"], abs=1)
    assert page.locator(".tile b").first.text_content() == "57.1"
    page.get_by_role("button", name="PQ", exact=True).click()
    assert page.evaluate(first) == ["sky", "road", "car", "person"]
    assert page.locator("th[data-key=pq]").get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")
    assert page.evaluate(first) == ["person", "car", "road", "sky"]
    page.get_by_role("link", name="person").click()
    assert page.locator("#count").text_content() == "1 of 3 images · PQ and errors of person"


def test_without_annotation(open_page: Any, tmp_path: Path) -> None:
    drawn = write_drawn_predictions(tmp_path)
    write_report(open_material(drawn.predictions), tmp_path / "report")
    page = open_page(tmp_path / "report")
    assert page.locator(".card .facts").first.text_content() == "3 segments · mean score 85.0"
    assert not page.locator("#errors").count()
    assert page.get_by_label("Sort by").locator("option").all_text_contents() == [
        "Name", "Number of segments", "Mean score of objects",
    ]  # fmt: skip
    page.keyboard.press("c")
    assert page.locator("tr[data-class=sky] td").first.text_content() == "3"
    page.goto(page.url.split("#")[0] + "#image=000002")
    page.wait_for_selector(".panel")
    assert not page.get_by_role("checkbox", name="Ground truth").is_visible()
    page.keyboard.press("e")
    page.keyboard.press("g")
    assert page.locator(".panel").count() == 1


def test_keys_are_listed_and_letters_can_be_switched_off(open_page: Any, scored_report: Path) -> None:
    page = open_page(scored_report)
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    assert "next image" in dialog.inner_text()
    dialog.get_by_label("Keys of single letters").uncheck()
    dialog.get_by_role("button", name="Close").click()
    page.keyboard.press("c")
    assert page.locator("#grid").is_visible()
    page.get_by_role("button", name="Keys").click()
    dialog.get_by_label("Keys of single letters").check()
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    assert page.locator(".classes").is_visible()


def test_the_tab_key_reaches_all_and_shows_where_it_is(open_page: Any, scored_report: Path) -> None:
    page = open_page(scored_report)
    reached = []
    for _ in range(11):
        page.keyboard.press("Tab")
        what = "document.activeElement.id || document.activeElement.className || document.activeElement.tagName"
        reached.append(page.evaluate(what))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", reached
    assert reached == [
        "skip", "to-images", "to-classes", "theme", "open-help", "search", "class", "errors", "sort", "order", "A",
    ]  # fmt: skip
