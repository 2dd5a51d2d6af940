// One image with what lies over it.
"use strict";

(() => {
  const { element } = seamseg;
  const TITLES = { prediction: "Prediction", truth: "Ground truth", none: "Image" };

  /** A panel that draws one side ("prediction", "truth") or none; `onpoint` is told the pixel under the pointer, or null. */
  seamseg.makePanel = (side, onpoint, onpick) => {
    const picture = element("img", { class: "image", draggable: "false" });
    const [fill, errors, highlight] = ["fill", "errors", "highlight"].map((name) =>
      element("canvas", { class: `layer ${name}`, "aria-hidden": "true" }),
    );
    const frame = element("div", { class: "frame" }, picture, fill, errors, highlight);
    const figure = element(
      "figure",
      { class: "panel", "data-side": side },
      element("figcaption", { text: TITLES[side] }),
      frame,
    );
    let image = null;

    const pixelAt = (event) => {
      const box = frame.getBoundingClientRect();
      const [height, width] = image.shown;
      const x = Math.floor(((event.clientX - box.left) / box.width) * width);
      const y = Math.floor(((event.clientY - box.top) / box.height) * height);
      return x >= 0 && y >= 0 && x < width && y < height ? y * width + x : null;
    };
    frame.addEventListener("pointermove", (event) => image && onpoint(panel, pixelAt(event), event));
    frame.addEventListener("pointerleave", (event) => image && onpoint(panel, null, event));
    frame.addEventListener("pointerdown", (event) => image && onpoint(panel, pixelAt(event), event)); // fingers do not hover
    frame.addEventListener("click", (event) => image && event.pointerType === "mouse" && onpick(panel, pixelAt(event)));

    const panel = {
      side,
      figure,

      /** Shows an image; `shown` has its name and file. */
      open(shown, decoded) {
        const [height, width] = decoded.shown;
        image = decoded;
        Object.assign(picture, {
          src: `images/${shown.file}.jpg`,
          alt: `Image ${shown.name}`,
          width,
          height,
        });
        figure.style.setProperty("--ratio", width / height);
        for (const canvas of [fill, errors, highlight]) Object.assign(canvas, { width, height });
      },

      /** Draws by the settings of the view. */
      draw(settings, errorSides) {
        seamseg.clearLayer(highlight);
        if (image[side]) seamseg.paintFill(fill, image.shown, image[side]);
        fill.style.opacity = settings.opacity * (settings.errors ? 0.35 : 1);
        errors.hidden = !settings.errors;
        if (settings.errors) seamseg.paintErrors(errors, image.shown, errorSides);
      },

      /** Lifts a segment of one of the image's sides out; null for none. */
      highlight(chosenSide, id) {
        if (chosenSide === null || !id) seamseg.clearLayer(highlight);
        else seamseg.paintHighlight(highlight, image.shown, image[chosenSide].ids, id);
      },
    };
    return panel;
  };
})();
