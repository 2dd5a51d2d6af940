"""Grid of images in a browser: order, filters, keyboard, and five thousand images."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.browser_page import expect_text, until
from support.drawn_predictions import NAMES, write_drawn_predictions

from seamseg.report import open_material, write_report

STREET, EASY, EMPTY = NAMES


def names(page: Any) -> list[str]:
    return page.locator(".card .name").all_text_contents()


def expect_names(page: Any, expected: list[str]) -> None:
    expect_text(page.locator(".card .name"), expected)


def test_grid_of_a_scored_report_shows_the_worst_images_first(open_page: Any, scored_report: Path) -> None:
    page = open_page(scored_report)
    assert page.title() == "predicted"
    expect_names(page, [STREET, EMPTY, EASY])
    expect_text(page.locator(".card .quality"), ["PQ 50.9", "PQ 65.6", "PQ 100.0"])
    expect_text(page.locator(".card .facts").first, "7 segments · 7 errors")
    expect_text(page.locator("#headline"), "PQ 57.1 · things 18.0 · stuff 96.2 · mean IoU 62.1")


def test_grid_sorted_by_each_key_has_the_expected_order(open_page: Any, scored_report: Path) -> None:
    page = open_page(scored_report)
    page.get_by_role("button", name="Worst first").click()
    expect_names(page, [EASY, EMPTY, STREET])
    page.get_by_label("Sort by").select_option("Name")
    expect_names(page, sorted(NAMES))
    page.get_by_role("button", name="A to Z").click()
    expect_names(page, sorted(NAMES, reverse=True))
    page.get_by_label("Sort by").select_option("Number of segments")
    expect_names(page, [STREET, EASY, EMPTY])
    page.get_by_label("Sort by").select_option("Number of errors")
    expect_names(page, [STREET, EMPTY, EASY])
    page.get_by_label("Sort by").select_option("Mean score of objects")
    expect_names(page, [STREET, EASY, EMPTY])  # images without objects must come last
    page.get_by_role("button", name="Lowest first").click()
    expect_names(page, [EASY, STREET, EMPTY])


def test_grid_filtered_by_class_error_and_name_shows_matching_images(open_page: Any, scored_report: Path) -> None:
    page = open_page(scored_report)
    page.locator("#class").select_option("person (1)")
    expect_names(page, [STREET])
    expect_text(page.locator("#count"), "1 of 3 images · PQ and errors of person")
    expect_text(page.locator(".card .quality"), "PQ 0.0")
    page.locator("#class").select_option("car (3)")
    expect_text(page.locator(".card .quality"), ["PQ 0.0", "PQ 22.9", "PQ 100.0"])
    page.locator("#errors").select_option("missed")
    expect_names(page, [EMPTY, STREET])
    page.locator("#errors").select_option("duplicate")
    expect_names(page, [STREET])
    page.locator("#class").select_option("All")
    page.locator("#errors").select_option("All")
    page.locator("#search").fill("<B>")
    expect_names(page, [EASY])
    page.locator("#search").fill("nothing like it")
    page.get_by_role("button", name="Show all images").click()
    expect_names(page, [STREET, EMPTY, EASY])
    assert page.evaluate("document.querySelectorAll('.card b').length") == 0, "names must be text, not markup"


def test_address_after_reload_and_back_restores_the_view(open_page: Any, scored_report: Path) -> None:
    page = open_page(scored_report, "#class=2&errors=missed&sort=name&order=reversed")
    expect_names(page, [STREET, EMPTY])
    page.get_by_text(EMPTY).click()
    expect_text(page.locator("#position"), "2 of 2")
    page.reload()
    expect_text(page.locator("#position"), "2 of 2")
    page.go_back()
    expect_names(page, [STREET, EMPTY])
    assert page.locator("#errors").input_value() == "missed"
    page.goto(page.url.split("#")[0] + "#class=nonsense&sort=nonsense&image=nonsense")
    until(page, "!location.hash.includes('image=')")


def test_arrow_and_shortcut_keys_move_through_the_grid(open_page: Any, scored_report: Path) -> None:
    page = open_page(scored_report)
    focused = "document.activeElement.querySelector('.name').textContent"
    page.locator(".card a").first.focus()
    for key, name in [
        ("ArrowRight", EMPTY),
        ("End", EASY),
        ("ArrowRight", EASY),
        ("Home", STREET),
        ("ArrowLeft", STREET),
    ]:
        page.keyboard.press(key)
        assert page.evaluate(focused) == name, key
    assert page.locator(".card a[tabindex='0']").count() == 1, "the Tab key must leave the grid in one step"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect_text(page.get_by_role("heading", level=2), EMPTY)
    page.keyboard.press("Escape")
    until(page, "document.activeElement.matches('.card a')")
    assert page.evaluate(focused) == EMPTY
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"


def test_cards_have_alternative_texts_and_positions(open_page: Any, scored_report: Path) -> None:
    page = open_page(scored_report)
    card = page.get_by_role("listitem").first
    assert card.get_by_role("img").get_attribute("alt") == "Segments of street.jpg: sky, road, car, person"
    assert (card.get_attribute("aria-posinset"), card.get_attribute("aria-setsize")) == ("1", "3")
    link = card.get_by_role("link")
    assert re.search(r"street\.jpg.*PQ 50\.9.*7 segments", link.inner_text(), re.DOTALL)


def test_images_without_annotation_are_sorted_last_and_have_one_panel(open_page: Any, tmp_path: Path) -> None:
    drawn = write_drawn_predictions(tmp_path)
    drawn.edit(drawn.truth, lambda content: content["annotations"].pop(0))
    write_report(open_material(drawn.predictions, truth_file=drawn.truth), tmp_path / "report")
    page = open_page(tmp_path / "report")
    expect_names(page, [EMPTY, EASY, STREET])
    expect_text(page.locator(".card .facts").last, "7 segments · mean score 75.0")
    page.get_by_role("button", name="Worst first").click()
    expect_names(page, [EASY, EMPTY, STREET])  # images without scores must be last in both directions
    page.keyboard.press("c")
    assert "1 of 3 predicted images have no annotation" in page.locator(".about").text_content()
    page.goto(page.url.split("#")[0] + "#image=000002")
    page.wait_for_selector(".panel")
    assert page.locator(".panel").count() == 1
    assert page.locator("#segments section").count() == 1


@pytest.fixture(scope="module")
def large_report(scored_report: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn report with each image listed many times in the index, 5000 entries in total."""
    folder = tmp_path_factory.mktemp("large") / "report"
    shutil.copytree(scored_report, folder)
    script = folder / "data" / "index.js"
    text = script.read_text()
    index = json.loads(text[text.index("{") : text.rindex("}") + 1])
    index["images"] = [
        index["images"][number % 3] | {"name": f"{number:04}.jpg", "pq": number / 5000} for number in range(5000)
    ]
    script.write_text(f"seamseg.receiveIndex({json.dumps(index)});")
    return folder


def test_grid_with_five_thousand_images_holds_few_elements(open_page: Any, large_report: Path) -> None:
    page = open_page(large_report)
    expect_text(page.locator("#count"), "5,000 images")
    counted = "[document.querySelectorAll('*').length, document.querySelectorAll('.card').length]"
    elements, cards = page.evaluate(counted)
    assert 5 <= cards <= 60
    assert elements < 900
    for share in (0.3, 0.77, 1):
        page.evaluate(f"scrollTo(0, {share} * document.body.scrollHeight)")
        until(page, f"document.querySelector('.card').dataset.position > {share * 4000}")
        elements, cards = page.evaluate(counted)
        assert cards <= 60
        assert elements < 900
    assert "4999.jpg" in names(page)
    positions = page.eval_on_selector_all(".card", "cards => cards.map(card => Number(card.dataset.position))")
    assert positions == sorted(positions), "cards must be in reading order"
    scripts = page.evaluate("performance.getEntriesByType('resource').filter(e => e.name.includes('/data/')).length")
    assert scripts <= 1, "data of an image must load only when it is opened"


def test_many_images_opened_in_a_row_leave_no_elements_behind(open_page: Any, large_report: Path) -> None:
    page = open_page(large_report, "#image=000000")
    page.wait_for_selector(".panel")
    before = page.evaluate("[document.scripts.length, document.querySelectorAll('*').length]")
    for _ in range(12):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(20)
    page.wait_for_selector(".panel")
    scripts, elements = page.evaluate("[document.scripts.length, document.querySelectorAll('*').length]")
    assert scripts <= before[0] + 1
    assert elements < before[1] + 200
    page.keyboard.press("Escape")
    page.locator(".card a").first.focus()
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.querySelector('.name').textContent") == "4999.jpg"
    page.keyboard.press("PageUp")
    assert page.evaluate("Number(document.activeElement.parentElement.dataset.position)") < 4999
