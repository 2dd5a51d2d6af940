// Panel: an image with the layers over it.
"use strict";

(() => {
  const { element } = seamseg;
  const TITLES = { prediction: "Prediction", truth: "Ground truth", none: "Image" };

  /**
   * Make a panel that shows the image with one side ("prediction", "truth") or without segments ("none").
   * `onpoint` receives the pixel under the pointer, or null; `onpick` receives the pixel of a click.
   */
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
    frame.addEventListener("pointerdown", (event) => image && onpoint(panel, pixelAt(event), event)); // touch does not hover
    frame.addEventListener("click", (event) => image && event.pointerType === "mouse" && onpick(panel, pixelAt(event)));

    const panel = {
      side,
      figure,

      /** Show an image; `shown` is its entry in the index. */
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

      /** Draw the segments and errors. */
      draw(settings, errorSides) {
        seamseg.clearLayer(highlight);
        if (image[side]) seamseg.paintFill(fill, image.shown, image[side]);
        fill.style.opacity = settings.opacity * (settings.errors ? 0.35 : 1);
        errors.hidden = !settings.errors;
        if (settings.errors) seamseg.paintErrors(errors, image.shown, errorSides);
      },

      /** Highlight a segment of one side of the image; null for none. */
      highlight(chosenSide, id) {
        if (chosenSide === null || !id) seamseg.clearLayer(highlight);
        else seamseg.paintHighlight(highlight, image.shown, image[chosenSide].ids, id);
      },
    };
    return panel;
  };
})();
