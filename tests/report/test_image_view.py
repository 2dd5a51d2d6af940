"""View of one image in a browser: layers, tooltip, list of segments, and keyboard."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.browser_page import expect_text, until
from support.drawn_predictions import CUT, DOUBLED, FOUND, HEIGHT, INVENTED, LOST, WIDTH, WRONG, Box

CLEAR = [0, 0, 0, 0]


def middle(box: Box) -> tuple[float, float]:
    """Return the center of a box as fractions of height and width."""
    y0, x0, y1, x1 = box
    return (y0 + y1) / 2 / HEIGHT, (x0 + x1) / 2 / WIDTH


def point(page: Any, box: Box, side: str = "prediction") -> str:
    """Move the pointer to the center of a box, and return the text of the tooltip."""
    frame = page.locator(f".panel[data-side={side}] .frame").bounding_box()
    y, x = middle(box)
    page.mouse.move(frame["x"] + x * frame["width"], frame["y"] + y * frame["height"])
    return page.locator("#tooltip").inner_text()


def pixel(page: Any, layer: str, box: Box, side: str = "prediction") -> list[int]:
    """Return red, green, blue and opacity of a layer at the center of a box."""
    y, x = middle(box)
    code = """([side, layer, x, y]) => {
      const canvas = document.querySelector(`.panel[data-side=${side}] .${layer}`);
      return [...canvas.getContext("2d").getImageData(x * canvas.width, y * canvas.height, 1, 1).data];
    }"""
    return page.evaluate(code, [side, layer, x, y])


@pytest.fixture
def street(open_page: Any, scored_report: Path) -> Any:
    page = open_page(scored_report, "#image=000002")
    page.wait_for_selector(".panel")
    return page


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


def test_tooltip_at_a_segment_shows_class_score_area_and_outcome(street: Any) -> None:
    assert lines(point(street, FOUND)) == [
        "Prediction", "car", "score 85.0%", "320 px · 5.3%", "matched, IoU 0.80",
        "Ground truth", "car", "400 px · 6.7%", "matched, IoU 0.80",
    ]  # fmt: skip
    assert "score 75.0%\n100 px" not in point(street, WRONG)
    assert "classification, true class person, IoU 1.00" in point(street, WRONG)
    assert "classification, predicted as car, IoU 1.00" in point(street, WRONG)
    y0, x0, y1, _ = CUT
    assert "localization, IoU 0.35" in point(street, (y0, x0, y1, x0 + 6))
    assert "duplicate, IoU 0.20" in point(street, DOUBLED)
    assert "background" in lines(point(street, INVENTED))
    assert lines(point(street, LOST)) == [
        "Prediction", "road", "2,260 px · 37.7%", "matched, IoU 0.84",
        "Ground truth", "car", "100 px · 1.7%", "missed",
    ]  # fmt: skip
    street.mouse.move(2, 2)
    assert not street.locator("#tooltip").is_visible()


def test_pointer_on_a_segment_highlights_it_in_both_panels(street: Any) -> None:
    for side in ("prediction", "truth"):
        point(street, FOUND, side)
        for panel in ("prediction", "truth"):
            assert pixel(street, "highlight", FOUND, panel) == CLEAR
            assert pixel(street, "highlight", WRONG, panel)[3] > 50
    assert street.locator("#segments button.marked").count() == 2
    point(street, WRONG)
    assert pixel(street, "highlight", FOUND)[3] > 50
    street.mouse.move(2, 2)
    assert pixel(street, "highlight", FOUND) == CLEAR
    assert street.locator("#segments button.marked").count() == 0


def test_fill_layer_has_the_segment_colors_of_the_overlay(street: Any) -> None:
    code = """async side => (await seamseg.loadImage("000002"))[side].segments.map(segment => segment.color)"""
    for side, box, segment in (("prediction", FOUND, 3), ("prediction", INVENTED, 6), ("truth", LOST, 6)):
        color = street.evaluate(code, side)[segment]
        assert pixel(street, "fill", box, side) == [*bytes.fromhex(color[1:]), 255]
    assert pixel(street, "fill", FOUND) != pixel(street, "fill", WRONG), "each car must have its own shade"


def test_layers_toggled_by_keys_and_checkboxes_change_the_panels(street: Any) -> None:
    sides = "[...document.querySelectorAll('.panel')].map(panel => panel.dataset.side).join()"
    assert street.evaluate(sides) == "prediction,truth"
    street.keyboard.press("g")
    assert street.evaluate(sides) == "prediction"
    street.get_by_role("checkbox", name="Prediction").uncheck()
    assert street.evaluate(sides) == "none"
    street.keyboard.press("g")
    assert street.evaluate(sides) == "truth"
    street.get_by_role("checkbox", name="Prediction").check()
    assert street.evaluate(sides) == "prediction,truth"


def test_error_layer_paints_every_kind_and_hides_unchecked_kinds(street: Any) -> None:
    y0, x0, y1, _ = CUT
    rest = (y0, x0, y1, x0 + 7)
    assert not street.get_by_role("checkbox", name="Missed").is_visible()
    street.keyboard.press("e")
    assert pixel(street, "errors", FOUND) == CLEAR
    assert [pixel(street, "errors", box)[3] > 100 for box in (WRONG, rest, INVENTED, DOUBLED)] == [True] * 4
    assert pixel(street, "errors", LOST) == CLEAR
    assert [pixel(street, "errors", box, "truth")[3] > 100 for box in (WRONG, CUT, LOST)] == [True] * 3
    colors = {tuple(pixel(street, "errors", box)[:3]) for box in (WRONG, rest, INVENTED, DOUBLED)}
    assert len(colors | {tuple(pixel(street, "errors", LOST, "truth")[:3])}) == 5
    expect_text(street.locator("#segments h3 .number"), ["4 errors", "3 errors"])
    street.get_by_role("checkbox", name="Classification").uncheck()
    assert pixel(street, "errors", WRONG) == CLEAR
    assert pixel(street, "errors", INVENTED)[3] > 100
    expect_text(street.locator("#segments h3 .number"), ["3 errors", "2 errors"])


def test_missed_segments_without_a_truth_panel_are_drawn_in_the_prediction(street: Any) -> None:
    street.keyboard.press("e")
    street.keyboard.press("g")
    assert pixel(street, "errors", LOST)[3] > 100
    point(street, LOST)
    assert pixel(street, "highlight", LOST) == CLEAR
    assert pixel(street, "highlight", FOUND)[3] > 50
    street.get_by_role("checkbox", name="Missed").uncheck()
    assert pixel(street, "errors", LOST) == CLEAR


def test_opacity_by_slider_and_keys_changes_the_fill_layer(street: Any) -> None:
    opacity = "Number(document.querySelector('.layer.fill').style.opacity)"
    assert street.evaluate(opacity) == pytest.approx(0.55)
    street.get_by_role("slider", name="Opacity").fill("80")
    assert street.evaluate(opacity) == pytest.approx(0.8)
    street.get_by_role("slider", name="Opacity").blur()
    street.keyboard.press("-")
    assert street.evaluate(opacity) == pytest.approx(0.7)
    expect_text(street.locator("output"), "70%")


def test_arrow_keys_and_links_step_through_the_images(street: Any) -> None:
    expect_text(street.locator("#position"), "1 of 3")
    assert street.get_by_text("‹ Previous").get_attribute("aria-disabled") == "true"
    street.keyboard.press("ArrowLeft")
    street.keyboard.press("ArrowRight")
    until(street, "document.querySelector('.image')?.alt === 'Image empty.jpg'")
    expect_text(street.locator("#position"), "2 of 3")
    assert street.title() == "empty.jpg – predicted"
    street.get_by_text("Next ›").click()
    until(street, "document.querySelector('.image').alt.includes('<b>bold.jpg')")
    street.keyboard.press("ArrowRight")
    expect_text(street.locator("#position"), "3 of 3")


def test_segment_list_by_keyboard_highlights_segments(street: Any) -> None:
    rows = street.locator("#segments button")
    assert rows.count() == 13
    rows.first.focus()
    assert street.evaluate("document.activeElement.innerText").split("\n")[0] == "sky"
    for _ in range(2):
        street.keyboard.press("ArrowDown")
    text = street.evaluate("document.activeElement.innerText")
    assert "car" in text
    assert "score 85.0%" in text
    assert "matched, IoU 0.80" in text
    assert pixel(street, "highlight", FOUND) == CLEAR
    assert pixel(street, "highlight", WRONG)[3] > 50
    assert pixel(street, "highlight", FOUND, "truth") == CLEAR
    street.keyboard.press("ArrowUp")
    assert pixel(street, "highlight", FOUND)[3] > 50


def test_click_on_a_segment_focuses_its_row_in_the_list(street: Any) -> None:
    frame = street.locator(".panel[data-side=truth] .frame").bounding_box()
    y, x = middle(LOST)
    street.mouse.click(frame["x"] + x * frame["width"], frame["y"] + y * frame["height"])
    assert "missed" in street.evaluate("document.activeElement.innerText")


def test_load_image_with_two_byte_ids_decodes_them(open_page: Any, scored_report: Path) -> None:
    """Ids above 255 have two bytes, least significant first; each row is XORed with the row above."""
    page = open_page(scored_report)
    code = """() => new Promise(resolve => {
      const words = Uint16Array.of(1, 300, 700 ^ 1, 300 ^ 300);
      const stream = new Blob([words]).stream().pipeThrough(new CompressionStream("deflate"));
      new Response(stream).arrayBuffer().then(async buffer => {
        const ids = btoa(String.fromCharCode(...new Uint8Array(buffer)));
        const loading = seamseg.loadImage("000001");
        const prediction = {ids, bytes: 2, segments: []};
        seamseg.receiveImage("000001", {size: [2, 2], shown: [2, 2], prediction, truth: null});
        resolve([...(await loading).prediction.ids]);
      });
    })"""
    assert page.evaluate(code) == [1, 300, 700, 300]


def test_image_view_with_a_missing_file_shows_an_alert(open_page: Any, scored_report: Path, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    shutil.copytree(scored_report, folder)
    (folder / "data/000002.js").unlink()
    page = open_page(folder, "#image=000002", tolerated="Failed to load resource: net::ERR_FILE_NOT_FOUND")
    assert page.get_by_role("alert").text_content().startswith("data/000002.js cannot be read")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".panel")
