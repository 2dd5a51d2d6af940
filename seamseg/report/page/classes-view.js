// Scores, or without annotation numbers, of every class.
"use strict";

(() => {
  const { element } = seamseg;
  const TRUE_PARTS = ["found", "badly-cut", "wrong-class", "missed"];
  let sorted = { key: null, up: false };

  /** Columns: what stands in them as text, what they are sorted by, and what is drawn. */
  const SCORED = [
    bar("pq", "PQ", "Panoptic quality, percent"),
    bar("sq", "SQ", "Segmentation quality: mean IoU of what was found, percent"),
    bar("rq", "RQ", "Recognition quality: F1 score, percent"),
    number(
      "iou",
      "IoU",
      "Intersection over union of all pixels, percent",
      (entry) => entry.scores.iou,
      seamseg.percent,
    ),
    number(
      "boundary",
      "Boundary PQ",
      "PQ with the IoU of borders where that is smaller, percent",
      (entry) => entry.scores.boundary_pq,
      seamseg.percent,
    ),
    number(
      "true",
      "In truth",
      "Segments of the ground truth",
      (entry) => entry.scores.tp + entry.scores.fn,
      seamseg.count,
    ),
    {
      key: "outcome",
      title: "What became of them",
      about: "Shares of found, badly cut, wrong class and missed",
      value: (entry) => entry.scores.tp / (entry.scores.tp + entry.scores.fn),
      cell: outcome,
    },
    number(
      "missed",
      "Missed",
      "Segments of the ground truth without a match, nothing like them predicted",
      (entry) => entry.missed[0],
      seamseg.count,
    ),
    number(
      "wrong",
      "Wrong class",
      "Segments of the ground truth that are predicted as another class",
      (entry) => entry.missed[1],
      seamseg.count,
    ),
    number(
      "cut",
      "Badly cut",
      "Segments of the ground truth whose prediction overlaps with an IoU of 0.1 to 0.5",
      (entry) => entry.missed[2],
      seamseg.count,
    ),
    number(
      "false",
      "False predictions",
      "Predicted segments without a match, of whatever kind",
      (entry) => entry.scores.fp,
      seamseg.count,
    ),
  ];
  const PREDICTED = [
    number("segments", "Segments", "Predicted segments", (entry) => entry.segments, seamseg.count),
    number("images", "Images", "Images with the class", (entry) => entry.images, seamseg.count),
    {
      key: "share",
      title: "Share of pixels",
      about: "Share of all pixels, percent",
      value: (entry) => entry.share,
      cell: (entry) => barCell(entry.share),
    },
  ];

  function bar(key, title, about) {
    return { key, title, about, value: (entry) => entry.scores[key], cell: (entry) => barCell(entry.scores[key]) };
  }

  function number(key, title, about, value, format) {
    return {
      key,
      title,
      about,
      value,
      cell: (entry) => element("td", { class: "number", text: format(value(entry)) }),
    };
  }

  function barCell(value) {
    return element(
      "td",
      { class: "number with-bar" },
      element("span", { text: seamseg.percent(value) }),
      seamseg.bar({ found: value }),
    );
  }

  function outcome(entry) {
    const [missed, wrong, cut] = entry.missed;
    const numbers = { found: entry.scores.tp, "badly-cut": cut, "wrong-class": wrong, missed };
    const total = entry.scores.tp + entry.scores.fn;
    const bar = seamseg.bar(Object.fromEntries(TRUE_PARTS.map((kind) => [kind, total ? numbers[kind] / total : 0])));
    const text = `${numbers.found} found, ${cut} badly cut, ${wrong} of wrong class, ${missed} missed`;
    return element("td", { class: "outcome", title: text }, element("span", { class: "hidden-text", text }), bar);
  }

  const columns = () => (seamseg.index.scores ? SCORED : PREDICTED);

  seamseg.showClasses = () => {
    const { title, scores, notes, numScored, images } = seamseg.index;
    document.title = `Classes – ${title}`;
    const about = scores
      ? `Over ${seamseg.plural(numScored, "annotated image", "annotated images")}. Scores in percent.`
      : `Over ${seamseg.plural(images.length, "image", "images")}, without ground truth.`;
    seamseg
      .byId("classes-view")
      .replaceChildren(
        ...(scores ? [tiles(scores)] : []),
        element("p", { class: "about", text: [about, ...notes.map((note) => `Note: ${note}.`)].join(" ") }),
        ...(scores ? [legend()] : []),
        element("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "Table of classes" }, table()),
      );
  };

  function tiles(scores) {
    const tile = (name, value, details) =>
      element(
        "div",
        { class: "tile" },
        element("span", { class: "tile-name", text: name }),
        element("b", { text: seamseg.percent(value) }),
        element("span", { class: "tile-details", text: details }),
      );
    const quality = (name, one) =>
      tile(
        `${name}, ${seamseg.plural(one.n, "class", "classes")}`,
        one.pq,
        `SQ ${seamseg.percent(one.sq)} · RQ ${seamseg.percent(one.rq)}`,
      );
    return element(
      "div",
      { class: "tiles" },
      quality("PQ", scores.all),
      quality("PQ of things", scores.things),
      quality("PQ of stuff", scores.stuff),
      tile("PQ†", scores.pq_dagger, "stuff without a threshold"),
      tile("Boundary PQ", scores.boundary.all.pq, "IoU of borders"),
      tile("Mean IoU", scores.miou, "of all pixels"),
    );
  }

  function legend() {
    const names = { found: "found", "badly-cut": "badly cut", "wrong-class": "wrong class", missed: "missed" };
    return element(
      "p",
      { class: "legend", "aria-hidden": "true" },
      ...TRUE_PARTS.map((kind) => element("span", {}, element("span", { class: `sign ${kind}` }), names[kind])),
    );
  }

  function table() {
    const all = seamseg.index.classes.map((entry, number) => ({ ...entry, number }));
    const seen = all.filter((entry) => entry.images > 0);
    const body = element("tbody", {}, ...arranged(seen).map(row));
    const absent = all.length - seen.length;
    return element(
      "table",
      { class: "classes" },
      element("caption", {
        text: absent
          ? `${seamseg.plural(absent, "class appears", "classes appear")} in no image and in no prediction`
          : "",
      }),
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          header({ key: "name", title: "Class", about: "Name of the class", text: true }),
          ...columns().map(header),
        ),
      ),
      body,
    );
  }

  function header(column) {
    const direction = sorted.key === column.key ? (sorted.up ? "ascending" : "descending") : "none";
    const sort = () => {
      sorted = { key: column.key, up: sorted.key === column.key ? !sorted.up : Boolean(column.text) };
      seamseg.showClasses();
      document.querySelector(`th[data-key="${column.key}"] button`).focus();
    };
    return element(
      "th",
      { scope: "col", "aria-sort": direction, "data-key": column.key, class: column.text ? null : "number" },
      element("button", { type: "button", title: column.about, onclick: sort, text: column.title }),
    );
  }

  /** By the chosen column, those without a value last; at first things before stuff, the most frequent first. */
  function arranged(entries) {
    const column = columns().find((one) => one.key === sorted.key);
    const sign = sorted.up ? 1 : -1;
    if (sorted.key === "name") return entries.sort((one, other) => sign * one.name.localeCompare(other.name));
    if (!column) return entries.sort((one, other) => other.thing - one.thing || other.segments - one.segments);
    const value = (entry) => (Number.isFinite(column.value(entry)) ? column.value(entry) : null);
    return entries.sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (a - b);
    });
  }

  function row(entry) {
    const place = { view: "", class: String(entry.number), image: "", errors: "", q: "" };
    const link = element("a", {
      href: seamseg.link(place),
      title: "Show the images with this class",
      text: entry.name,
    });
    const name = element(
      "th",
      { scope: "row" },
      element(
        "span",
        { class: "class-name" },
        element("span", { class: "swatch", color: entry.color, "aria-hidden": "true" }),
        link,
        element("span", { class: "kind-of-class", text: entry.thing ? "thing" : "stuff" }),
      ),
    );
    return element("tr", { "data-class": entry.name }, name, ...columns().map((column) => column.cell(entry)));
  }
})();
