// What is said of segments: beside the pointer, and in the list.
"use strict";

(() => {
  const { element } = seamseg;
  const SIDES = { prediction: "Prediction", truth: "Ground truth" };
  const MARGIN = 14;

  /** The name of a segment's class. */
  seamseg.className = (segment) => (segment.class < 0 ? "void" : seamseg.index.classes[segment.class].name) + (segment.crowd ? " (crowd)" : "");

  /** Score and area. */
  seamseg.measures = (segment, image) => {
    const [height, width] = image.size;
    const score = segment.score === undefined ? [] : [`${seamseg.percent(segment.score)} %`];
    return [...score, `${seamseg.count(segment.area)} px, ${seamseg.share(segment.area, height * width)}`];
  };

  /** What became of a segment, as a sentence; "" without annotation. */
  seamseg.verdictText = (segment, otherSide) => {
    const partner = segment.partner === undefined ? null : otherSide.segments[segment.partner];
    const iou = segment.iou === undefined ? "" : `IoU ${segment.iou.toFixed(2)}`;
    switch (segment.verdict) {
      case "found":
        return `found, ${iou}`;
      case "wrong class":
        return `wrong class: ${seamseg.className(partner)} on the other side, ${iou}`;
      case "badly cut":
        return `badly cut, ${iou}`;
      case "missed":
        return "missed";
      case "false":
        return "false, nothing like it in the ground truth";
      case "not counted":
        return "does not count";
      default:
        return "";
    }
  };

  seamseg.other = (side) => (side === "prediction" ? "truth" : "prediction");

  /** Shows segments ({side: id}) of an image beside a point of the window. */
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
    const otherSide = image[seamseg.other(side)];
    const details = segment.class < 0 ? [] : seamseg.measures(segment, image);
    const verdict = otherSide && segment.class >= 0 ? seamseg.verdictText(segment, otherSide) : "";
    return element(
      "p",
      { "data-side": side },
      otherSide ? element("span", { class: "side", text: SIDES[side] }) : null,
      element("span", { class: "what" }, element("span", { class: "swatch", color: segment.color }), element("b", { text: seamseg.className(segment) })),
      element("span", { class: "details", text: details.join(" · ") }),
      verdict ? seamseg.verdictBadge(segment, verdict) : null,
    );
  }

  /** A verdict with the sign of its kind. */
  seamseg.verdictBadge = (segment, text) => {
    const kind = seamseg.KINDS.find((one) => one.name === segment.verdict);
    return element("span", { class: "verdict" }, kind ? element("span", { class: `sign ${kind.key}`, "aria-hidden": "true" }) : null, text);
  };
})();
