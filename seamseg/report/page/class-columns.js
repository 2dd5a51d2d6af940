// The columns of the table of classes.
"use strict";

(() => {
  const { element } = seamseg;

  /** What may become of a true segment, in the order of its bar. */
  seamseg.OUTCOMES = [
    { key: "found", text: "found" },
    { key: "badly-cut", text: "badly cut" },
    { key: "wrong-class", text: "wrong class" },
    { key: "missed", text: "missed" },
  ];

  // What stands in their heads, what they are sorted by, and what is drawn.
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
    const bar = seamseg.bar(
      Object.fromEntries(seamseg.OUTCOMES.map(({ key }) => [key, total ? numbers[key] / total : 0])),
    );
    const text = `${numbers.found} found, ${cut} badly cut, ${wrong} of wrong class, ${missed} missed`;
    return element("td", { class: "outcome", title: text }, element("span", { class: "hidden-text", text }), bar);
  }

  /** Those of this report: scores, or without annotation numbers. */
  seamseg.classColumns = () => (seamseg.index.scores ? SCORED : PREDICTED);
})();
