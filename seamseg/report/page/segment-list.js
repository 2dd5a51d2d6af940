// Lists of the segments of an image, which give the keyboard what the pointer does over the image.
"use strict";

(() => {
  const { element } = seamseg;
  const TITLES = { prediction: "Prediction", truth: "Ground truth" };

  /** Fill the lists; `onchoose` receives side and id of the selected segment, or null. */
  seamseg.showSegmentList = (image, sides, settings, onchoose) => {
    const lists = sides.map((side) => makeList(image, side, settings, onchoose));
    seamseg.byId("segments").replaceChildren(...lists);
  };

  /** Mark the rows of segments ({side: id}). */
  seamseg.markRows = (chosen) => {
    for (const row of document.querySelectorAll("#segments button")) {
      row.classList.toggle("marked", chosen[row.dataset.side] === Number(row.dataset.id));
    }
  };

  seamseg.focusRow = (side, id) => {
    const row = document.querySelector(`#segments button[data-side="${side}"][data-id="${id}"]`);
    row?.focus();
    row?.scrollIntoView({ block: "nearest" });
  };

  function makeList(image, side, settings, onchoose) {
    const { segments } = image[side];
    const shown = segments
      .map((segment, id) => ({ segment, id }))
      .filter(
        ({ segment, id }) => id > 0 && segment.area > 0 && (!settings.errors || settings.kinds.has(segment.outcome)),
      )
      .sort((one, other) => other.segment.area - one.segment.area || one.id - other.id);
    const rows = shown.map(({ segment, id }) => element("li", {}, makeRow(image, side, segment, id, onchoose)));
    const list = element("ul", { onkeydown: step, onpointerleave: () => onchoose(null) }, ...rows);
    const what = settings.errors
      ? seamseg.plural(shown.length, "error", "errors")
      : seamseg.plural(shown.length, "segment", "segments");
    return element(
      "section",
      { "data-side": side },
      element("h3", {}, TITLES[side], element("span", { class: "number", text: what })),
      list,
    );
  }

  function makeRow(image, side, segment, id, onchoose) {
    const choose = () => onchoose(side, id);
    return element(
      "button",
      {
        type: "button",
        "data-side": side,
        "data-id": id,
        onfocus: choose,
        onpointerenter: choose,
        onclick: choose,
        onblur: () => onchoose(null),
      },
      element("span", { class: "swatch", color: segment.color, "aria-hidden": "true" }),
      element("span", { class: "what", text: seamseg.className(segment) }),
      element("span", { class: "details", text: seamseg.scoreText(segment) }),
      element(
        "span",
        { class: "more" },
        image.truth ? seamseg.outcomeBadge(segment, seamseg.outcomeText(segment, side, image)) : null,
        element("span", { class: "details area", text: seamseg.areaText(segment, image) }),
      ),
    );
  }

  function step(event) {
    const rows = [...document.querySelectorAll("#segments button")];
    const at = rows.indexOf(document.activeElement);
    const next = { ArrowUp: at - 1, ArrowDown: at + 1 }[event.key];
    if (next === undefined || at < 0) return;
    event.preventDefault();
    rows[next]?.focus();
  }
})();
