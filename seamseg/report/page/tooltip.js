// Texts about segments: the tooltip at the pointer, and the texts of the list.
"use strict";

(() => {
  const { element } = seamseg;
  const SIDES = { prediction: "Prediction", truth: "Ground truth" };
  const MARGIN = 14;

  /** Return the name of a segment's class. */
  seamseg.className = (segment) =>
    (segment.class < 0 ? "void" : seamseg.index.classes[segment.class].name) + (segment.crowd ? " (crowd)" : "");

  /** Return "score 94.7%", or "" without a score. */
  seamseg.scoreText = (segment) => (segment.score === undefined ? "" : `score ${seamseg.percent(segment.score)}%`);

  /** Return "1,234 px · 5.6%": the number of pixels, and their share of the image. */
  seamseg.areaText = (segment, image) => {
    const [height, width] = image.size;
    return `${seamseg.count(segment.area)} px · ${seamseg.share(segment.area, height * width)}`;
  };

  /** Return the outcome of a segment; "" without an annotation. */
  seamseg.outcomeText = (segment, side, image) => {
    const otherSide = image[seamseg.other(side)];
    const partner = segment.partner === undefined ? null : otherSide.segments[segment.partner];
    const iou = segment.iou === undefined ? "" : `IoU ${segment.iou.toFixed(2)}`;
    if (segment.outcome === undefined) return "";
    if (segment.outcome === "ignored") return "ignored in the scores";
    const other = side === "truth" ? "predicted as" : "true class";
    const wrong = segment.outcome === "classification" ? `${other} ${seamseg.className(partner)}` : "";
    return [segment.outcome, wrong, iou].filter(Boolean).join(", ");
  };

  seamseg.other = (side) => (side === "prediction" ? "truth" : "prediction");

  /** Show the tooltip for segments ({side: id}) of an image at a point of the window. */
  seamseg.showTooltip = (image, chosen, x, y) => {
    const tooltip = seamseg.byId("tooltip");
    tooltip.replaceChildren(...Object.entries(chosen).map(([side, id]) => paragraph(image, side, id)));
    tooltip.hidden = false;
    const { width, height } = tooltip.getBoundingClientRect();
    const left = x + MARGIN + width > innerWidth ? x - MARGIN - width : x + MARGIN;
    const top = y + MARGIN + height > innerHeight ? y - MARGIN - height : y + MARGIN;
    tooltip.style.transform = `translate(${Math.max(4, left)}px, ${Math.max(4, top)}px)`;
  };

  seamseg.hideTooltip = () => (seamseg.byId("tooltip").hidden = true);

  function paragraph(image, side, id) {
    const segment = image[side].segments[id];
    const isVoid = segment.class < 0;
    const score = seamseg.scoreText(segment);
    const outcome = image.truth && !isVoid ? seamseg.outcomeText(segment, side, image) : "";
    return element(
      "p",
      { "data-side": side },
      image.truth ? element("span", { class: "side", text: SIDES[side] }) : null,
      element(
        "span",
        { class: "what" },
        element("span", { class: "swatch", color: segment.color }),
        element("b", { text: seamseg.className(segment) }),
      ),
      score ? element("span", { class: "details", text: score }) : null,
      isVoid ? null : element("span", { class: "details", text: seamseg.areaText(segment, image) }),
      outcome ? seamseg.outcomeBadge(segment, outcome) : null,
    );
  }

  /** Make the text of an outcome with the sign of its kind. */
  seamseg.outcomeBadge = (segment, text) => {
    const kind = seamseg.KINDS.find((one) => one.name === segment.outcome);
    return element(
      "span",
      { class: "outcome-badge" },
      kind ? element("span", { class: `sign ${kind.name}`, "aria-hidden": "true" }) : null,
      text,
    );
  };
})();
