"""The whole page in a browser: classes, themes, narrow windows, keyboard and contrast. Screenshots are saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.browser_page import expect_text
from support.drawn_predictions import write_drawn_predictions

from seamseg.report import open_material, write_report

SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
"""Folder of the screenshots, for a person to look at; ignored by git."""

VIEWS = {"grid": "", "image": "#image=000002", "classes": "#view=classes"}

# Returns texts with a contrast (WCAG 2) below 4.5 against their background.
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
def test_page_in_every_theme_and_width_has_contrast_and_no_overflow(
    open_page: Any, scored_report: Path, view: str, scheme: str, width: int
) -> None:
    page = open_page(scored_report, VIEWS[view], width=width, height=860, color_scheme=scheme)
    page.wait_for_selector({"grid": ".card img", "image": ".panel canvas", "classes": ".classes td"}[view])
    assert page.evaluate(FAINT) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page must not scroll sideways"
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    file = SCREENSHOTS / f"{view}-{scheme}-{width}.png"
    page.screenshot(path=str(file))
    picture = cv2.imread(str(file))
    assert picture.shape == (860, width, 3)
    assert (np.median(picture[::4, ::4]) < 60) == (scheme == "dark")
    assert len(np.unique(picture[::4, ::4].reshape(-1, 3) @ (1, 256, 65536))) > 50


def test_theme_chosen_by_the_user_is_kept_after_reload(open_page: Any, scored_report: Path) -> None:
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
    page.get_by_label("Theme").select_option("System")
    assert background(page) == dark


def test_page_with_reduced_motion_has_no_transitions(open_page: Any, scored_report: Path) -> None:
    moving = "getComputedStyle(document.querySelector('.card a')).transitionDuration"
    assert open_page(scored_report).evaluate(moving) != "0s"
    assert open_page(scored_report, reduced_motion="reduce").evaluate(moving) == "0s"


def test_classes_view_of_a_scored_report_shows_sortable_scores(open_page: Any, scored_report: Path) -> None:
    page = open_page(scored_report, "#view=classes")
    classes = page.locator(".classes tbody th a")
    expect_text(classes, ["car", "person", "sky", "road"])
    row = page.locator("tr[data-class=car]")
    assert row.locator("td").all_inner_texts()[:3] == ["36.0", "90.0", "40.0"]
    assert row.locator("td").all_inner_texts()[-6:] == [
        "2",
        "0",
        "1",
        "3",
        "1",
        "0",
    ]  # kinds of FN, then FP and its kinds
    expect_text(row.locator(".hidden-text"), "2 matched, 1 localization, 0 classification, 2 missed")
    bar = row.locator(".with-bar .bar").first
    assert bar.locator(".bar-part").bounding_box()["width"] == pytest.approx(0.36 * bar.bounding_box()["width"], abs=1)
    expect_text(page.locator(".tile b").first, "57.1")
    page.get_by_role("button", name="PQ", exact=True).click()
    expect_text(classes, ["sky", "road", "car", "person"])
    assert page.locator("th[data-key=pq]").get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")
    expect_text(classes, ["person", "car", "road", "sky"])
    page.get_by_role("link", name="person").click()
    expect_text(page.locator("#count"), "1 of 3 images · PQ and errors of person")


def test_page_without_annotation_hides_errors_and_truth(open_page: Any, tmp_path: Path) -> None:
    drawn = write_drawn_predictions(tmp_path)
    write_report(open_material(drawn.predictions), tmp_path / "report")
    page = open_page(tmp_path / "report")
    expect_text(page.locator(".card .facts").first, "3 segments · mean score 85.0")
    assert not page.locator("#errors").count()
    assert page.get_by_label("Sort by").locator("option").all_text_contents() == [
        "Name", "Number of segments", "Mean score of objects",
    ]  # fmt: skip
    page.keyboard.press("c")
    expect_text(page.locator("tr[data-class=sky] td").first, "3")
    page.goto(page.url.split("#")[0] + "#image=000002")
    page.wait_for_selector(".panel")
    assert not page.get_by_role("checkbox", name="Ground truth").is_visible()
    page.keyboard.press("e")
    page.keyboard.press("g")
    assert page.locator(".panel").count() == 1


def test_help_dialog_lists_shortcuts_and_can_disable_single_characters(open_page: Any, scored_report: Path) -> None:
    page = open_page(scored_report)
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    assert "Next image" in dialog.inner_text()
    dialog.get_by_label("single-character shortcuts").uncheck()
    dialog.get_by_role("button", name="Close").click()
    page.keyboard.press("c")
    assert page.locator("#grid").is_visible()
    page.get_by_role("button", name="Shortcuts").click()
    dialog.get_by_label("single-character shortcuts").check()
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    page.wait_for_selector(".classes")


def test_tab_key_reaches_every_control_with_a_visible_outline(open_page: Any, scored_report: Path) -> None:
    page = open_page(scored_report)
    reached = []
    for _ in range(11):
        page.keyboard.press("Tab")
        name = "document.activeElement.id || document.activeElement.className || document.activeElement.tagName"
        reached.append(page.evaluate(name))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", reached
    assert reached == [
        "skip", "to-images", "to-classes", "theme", "open-help", "search", "class", "errors", "sort", "order", "A",
    ]  # fmt: skip
