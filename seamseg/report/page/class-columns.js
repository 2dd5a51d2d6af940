// The columns of the table of classes.
"use strict";

(() => {
  const { element } = seamseg;

  /** Outcomes of true segments, in the order of their bar. */
  seamseg.OUTCOMES = ["matched", "localization", "classification", "missed"];

  // What stands in their heads, what they are sorted by, and what is drawn.
  const SCORED = [
    bar("pq", "PQ", "Panoptic quality, percent"),
    bar("sq", "SQ", "Segmentation quality: mean IoU of the matches, percent"),
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
      title: "Outcomes",
      about: "Shares of matched segments, localization errors, classification errors and missed segments",
      value: (entry) => entry.scores.tp / (entry.scores.tp + entry.scores.fn),
      cell: outcome,
    },
    number(
      "missed",
      "Missed",
      "Segments of the ground truth without a similar prediction",
      (entry) => entry.trueErrors.missed,
      seamseg.count,
    ),
    number(
      "classification",
      "Classification",
      "Segments of the ground truth that are predicted as another class",
      (entry) => entry.trueErrors.classification,
      seamseg.count,
    ),
    number(
      "localization",
      "Localization",
      "Segments of the ground truth whose best prediction has an IoU of 0.1 to 0.5",
      (entry) => entry.trueErrors.localization,
      seamseg.count,
    ),
    number("fp", "FP", "False positives: predicted segments without a match", (entry) => entry.scores.fp, seamseg.count),
    number(
      "duplicate",
      "Duplicate",
      "False positives on an object that another prediction matches",
      (entry) => entry.falseErrors.duplicate,
      seamseg.count,
    ),
    number(
      "background",
      "Background",
      "False positives without a similar segment in the ground truth",
      (entry) => entry.falseErrors.background,
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
      seamseg.bar({ matched: value }),
    );
  }

  function outcome(entry) {
    const numbers = { matched: entry.scores.tp, ...entry.trueErrors };
    const total = entry.scores.tp + entry.scores.fn;
    const bar = seamseg.bar(
      Object.fromEntries(seamseg.OUTCOMES.map((name) => [name, total ? numbers[name] / total : 0])),
    );
    const text = seamseg.OUTCOMES.map((name) => `${numbers[name]} ${name}`).join(", ");
    return element("td", { class: "outcome", title: text }, element("span", { class: "hidden-text", text }), bar);
  }

  /** Those of this report: scores, or without annotation numbers. */
  seamseg.classColumns = () => (seamseg.index.scores ? SCORED : PREDICTED);
})();
