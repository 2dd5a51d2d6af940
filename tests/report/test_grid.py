"""The grid in a real browser: order, filters, keys, and that five thousand images cost no more than a few."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.browser_page import until
from support.drawn_predictions import NAMES, write_drawn_predictions

from seamseg.report import open_material, write_report

STREET, EASY, EMPTY = NAMES


def names(page: Any) -> list[str]:
    return page.locator(".card .name").all_text_contents()


def test_the_worst_come_first(open_page: Any, scored_report: Path) -> None:
    page = open_page(scored_report)
    assert page.title() == "predicted"
    assert names(page) == [STREET, EMPTY, EASY]
    assert page.locator(".card .quality").all_text_contents() == ["PQ 50.9", "PQ 65.6", "PQ 100.0"]
    assert page.locator(".card .facts").first.text_content() == "7 segments · 7 errors"
    assert page.locator("#headline").text_content() == "PQ 57.1 · things 18.0 · stuff 96.2 · mean IoU 62.1"


def test_sorting(open_page: Any, scored_report: Path) -> None:
    page = open_page(scored_report)
    page.get_by_role("button", name="Worst first").click()
    assert names(page) == [EASY, EMPTY, STREET]
    page.get_by_label("Sort by").select_option("Name")
    assert names(page) == sorted(NAMES)
    page.get_by_role("button", name="A to Z").click()
    assert names(page) == sorted(NAMES, reverse=True)
    page.get_by_label("Sort by").select_option("Number of segments")
    assert names(page) == [STREET, EASY, EMPTY]
    page.get_by_label("Sort by").select_option("Number of errors")
    assert names(page) == [STREET, EMPTY, EASY]
    page.get_by_label("Sort by").select_option("Mean score of objects")
    assert names(page) == [STREET, EASY, EMPTY], "those without objects come last"
    page.get_by_role("button", name="Least sure first").click()
    assert names(page) == [EASY, STREET, EMPTY]


def test_filters_by_class_error_and_name(open_page: Any, scored_report: Path) -> None:
    page = open_page(scored_report)
    page.locator("#class").select_option("person (1)")
    assert names(page) == [STREET]
    assert page.locator("#count").text_content() == "1 of 3 images · PQ and errors of person"
    assert page.locator(".card .quality").text_content() == "PQ 0.0"
    page.locator("#class").select_option("car (3)")
    assert page.locator(".card .quality").all_text_contents() == ["PQ 0.0", "PQ 22.9", "PQ 100.0"]
    page.locator("#errors").select_option("missed")
    assert names(page) == [EMPTY, STREET]
    page.locator("#errors").select_option("duplicate")
    assert names(page) == [STREET]
    page.locator("#class").select_option("all")
    page.locator("#errors").select_option("all")
    page.locator("#search").fill("<B>")
    assert names(page) == [EASY]
    page.locator("#search").fill("nothing like it")
    page.get_by_role("button", name="Show all images").click()
    assert len(names(page)) == 3
    assert page.evaluate("document.querySelectorAll('.card b').length") == 0, "names are text, never markup"


def test_the_address_keeps_the_place(open_page: Any, scored_report: Path) -> None:
    page = open_page(scored_report, "#class=2&errors=missed&sort=name&order=reversed")
    assert names(page) == [STREET, EMPTY]
    page.get_by_text(EMPTY).click()
    assert page.locator("#position").text_content() == "2 of 2"
    page.reload()
    assert page.locator("#position").text_content() == "2 of 2"
    page.go_back()
    assert names(page) == [STREET, EMPTY]
    assert page.locator("#errors").input_value() == "missed"
    page.goto(page.url.split("#")[0] + "#class=nonsense&sort=nonsense&image=nonsense")
    until(page, "!location.hash.includes('image=')")


def test_keys_move_through_the_grid(open_page: Any, scored_report: Path) -> None:
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
    assert page.locator(".card a[tabindex='0']").count() == 1, "the Tab key passes the grid in one step"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.get_by_role("heading", level=2).text_content() == EMPTY
    page.keyboard.press("Escape")
    until(page, "document.activeElement.matches('.card a')")
    assert page.evaluate(focused) == EMPTY
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"


def test_pictures_have_alternatives_and_cards_their_numbers(open_page: Any, scored_report: Path) -> None:
    page = open_page(scored_report)
    card = page.get_by_role("listitem").first
    assert card.get_by_role("img").get_attribute("alt") == "Segments over street.jpg: sky, road, car, person"
    assert (card.get_attribute("aria-posinset"), card.get_attribute("aria-setsize")) == ("1", "3")
    link = card.get_by_role("link")
    assert re.search(r"street\.jpg.*PQ 50\.9.*7 segments", link.inner_text(), re.DOTALL)


def test_images_without_annotation_among_others(open_page: Any, tmp_path: Path) -> None:
    drawn = write_drawn_predictions(tmp_path)
    drawn.edit(drawn.truth, lambda content: content["annotations"].pop(0))
    write_report(open_material(drawn.predictions, truth_file=drawn.truth), tmp_path / "report")
    page = open_page(tmp_path / "report")
    assert names(page) == [EMPTY, EASY, STREET]
    assert page.locator(".card .facts").last.text_content() == "7 segments · mean score 75.0"
    page.get_by_role("button", name="Worst first").click()
    assert names(page) == [EASY, EMPTY, STREET], "last in both directions"
    page.keyboard.press("c")
    assert "1 of 3 predicted images are not annotated" in page.locator(".about").text_content()
    page.goto(page.url.split("#")[0] + "#image=000002")
    page.wait_for_selector(".panel")
    assert page.locator(".panel").count() == 1
    assert page.locator("#segments section").count() == 1


@pytest.fixture(scope="module")
def large_report(scored_report: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn report with every image named many times in its index: 5 000 in all."""
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


def test_five_thousand_images(open_page: Any, large_report: Path) -> None:
    page = open_page(large_report)
    assert page.locator("#count").text_content() == "5\u202f000 images"
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
    assert positions == sorted(positions), "in reading order"
    scripts = page.evaluate("performance.getEntriesByType('resource').filter(e => e.name.includes('/data/')).length")
    assert scripts <= 1, "images load their data when they are opened"


def test_many_images_opened_one_after_the_other_leave_nothing(open_page: Any, large_report: Path) -> None:
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
