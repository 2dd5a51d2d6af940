// Columns of the table of classes.
"use strict";

(() => {
  const { element } = seamseg;

  /** Outcomes of true segments, in the order of their bar. */
  seamseg.OUTCOMES = ["matched", "localization", "classification", "missed"];

  // Each column has a title, a tooltip ("about"), a value to sort by, and a function that makes its cell.
  const SCORED = [
    bar("pq", "PQ", "Panoptic quality in percent"),
    bar("sq", "SQ", "Segmentation quality: mean IoU of the matches, in percent"),
    bar("rq", "RQ", "Recognition quality: F1 score of the matches, in percent"),
    number(
      "iou",
      "IoU",
      "Intersection over union of all pixels, in percent",
      (entry) => entry.scores.iou,
      seamseg.percent,
    ),
    number(
      "boundary",
      "Boundary PQ",
      "PQ with the smaller of the IoUs of segments and of their borders, in percent",
      (entry) => entry.scores.boundary_pq,
      seamseg.percent,
    ),
    number(
      "true",
      "True",
      "Number of true segments",
      (entry) => entry.scores.tp + entry.scores.fn,
      seamseg.count,
    ),
    {
      key: "outcome",
      title: "Outcomes",
      about: "Fractions of true segments that are matched, localization errors, classification errors and missed",
      value: (entry) => entry.scores.tp / (entry.scores.tp + entry.scores.fn),
      cell: outcome,
    },
    number(
      "missed",
      "Missed",
      "True segments without a similar prediction",
      (entry) => entry.trueErrors.missed,
      seamseg.count,
    ),
    number(
      "classification",
      "Classification",
      "True segments that are predicted as another class",
      (entry) => entry.trueErrors.classification,
      seamseg.count,
    ),
    number(
      "localization",
      "Localization",
      "True segments with a prediction of the right class and an IoU of only 0.1 to 0.5",
      (entry) => entry.trueErrors.localization,
      seamseg.count,
    ),
    number("fp", "FP", "False positives: predicted segments without a match", (entry) => entry.scores.fp, seamseg.count),
    number(
      "duplicate",
      "Duplicate",
      "False positives on an object that another prediction already matches",
      (entry) => entry.falseErrors.duplicate,
      seamseg.count,
    ),
    number(
      "background",
      "Background",
      "False positives without a similar true segment",
      (entry) => entry.falseErrors.background,
      seamseg.count,
    ),
  ];
  const PREDICTED = [
    number("segments", "Segments", "Number of predicted segments", (entry) => entry.segments, seamseg.count),
    number("images", "Images", "Number of images with the class", (entry) => entry.images, seamseg.count),
    {
      key: "share",
      title: "Share of pixels",
      about: "Share of all pixels in percent",
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

  /** Return the columns of this report: scores, or counts if there is no annotation. */
  seamseg.classColumns = () => (seamseg.index.scores ? SCORED : PREDICTED);
})();
