// View of one image: prediction and ground truth side by side, errors, and the segment under the pointer.
"use strict";

(() => {
  const { element } = seamseg;
  let order = []; // images of the grid, in its order
  let shown = null; // entry of the image in the index
  let image = null; // decoded image
  let panels = [];

  seamseg.startImageView = () => {
    seamseg.startLayerControls(draw);
    new ResizeObserver(placePanels).observe(seamseg.byId("panels"));
    addEventListener("resize", placePanels);
  };

  /** Show the image of a file, with steps to the previous and next of `images`. */
  seamseg.showImage = async (file, images) => {
    order = images;
    const next = order.find((one) => one.file === file) ?? seamseg.index.images.find((one) => one.file === file);
    if (!next) return seamseg.replacePlace({ image: "" });
    shown = next;
    showHead();
    let decoded;
    try {
      decoded = await seamseg.loadImage(file);
    } catch (error) {
      if (shown === next)
        seamseg.byId("panels").replaceChildren(element("p", { class: "notice", role: "alert", text: error.message }));
      return;
    }
    if (shown !== next) return; // another image was requested in the meantime
    image = decoded;
    panels = [];
    draw();
    prefetch();
  };

  /** Close the image. */
  seamseg.closeImage = () => {
    shown = image = null;
    seamseg.hideTooltip();
  };

  /** Go forward by `step` images in the order of the grid. */
  seamseg.stepImage = (step) => {
    const at = order.indexOf(shown) + step;
    if (shown && at >= 0 && at < order.length) seamseg.replacePlace({ image: order[at].file });
  };

  seamseg.toggleLayer = (key) => {
    if (image && (key === "prediction" || image.truth)) seamseg.chooseLayers({ [key]: !seamseg.chosenLayers[key] });
  };

  function showHead() {
    const at = order.indexOf(shown);
    const facts = [`${shown.size[1]} × ${shown.size[0]}`, seamseg.plural(shown.segments, "segment", "segments")];
    if (shown.quality) facts.unshift(`PQ ${seamseg.percent(shown.pq)}`);
    seamseg.byId("image-name").textContent = shown.name;
    seamseg.byId("image-facts").textContent = facts.join(" · ");
    seamseg.byId("position").textContent = at < 0 ? "" : `${seamseg.count(at + 1)} of ${seamseg.count(order.length)}`;
    seamseg.byId("back").setAttribute("href", seamseg.link({ image: "" }));
    for (const [id, other] of [
      ["previous", order[at - 1]],
      ["next", at < 0 ? undefined : order[at + 1]],
    ]) {
      const link = seamseg.byId(id);
      if (other) link.setAttribute("href", seamseg.link({ image: other.file }));
      else link.removeAttribute("href");
      link.setAttribute("aria-disabled", String(!other));
    }
    document.title = `${shown.name} – ${seamseg.index.title}`;
  }

  function draw() {
    seamseg.showLayerControls(image ? image.truth !== null : seamseg.index.annotated);
    if (!image) return;
    const sides = ["prediction", "truth"].filter((side) => seamseg.chosenLayers[side] && image[side]);
    const wanted = sides.length ? sides : ["none"];
    if (panels.map((panel) => panel.side).join() !== wanted.join()) {
      panels = wanted.map((side) => seamseg.makePanel(side, point, pick));
      for (const panel of panels) panel.open(shown, image);
      seamseg.byId("panels").replaceChildren(...panels.map((panel) => panel.figure));
      placePanels();
    }
    for (const panel of panels) panel.draw(settings(), errorSides(panel));
    seamseg.showSegmentList(image, listedSides(sides), settings(), choose);
  }

  /** Return the chosen layers, without errors if the image has no ground truth. */
  const settings = () => ({
    ...seamseg.chosenLayers,
    errors: seamseg.chosenLayers.errors && image.truth !== null,
  });

  /** Return the sides with errors to draw in a panel. Without a truth panel, missed segments go in the other one. */
  function errorSides(panel) {
    if (!settings().errors) return [];
    const own = panel.side === "none" ? "prediction" : panel.side;
    const sides = [{ ...image[own], kinds: settings().kinds }];
    if (own === "prediction" && panels.length === 1 && settings().kinds.has("missed")) {
      sides.push({ ...image.truth, kinds: new Set(["missed"]) });
    }
    return sides;
  }

  function listedSides(sides) {
    return settings().errors || !sides.length ? ["prediction", "truth"].filter((side) => image[side]) : sides;
  }

  function point(panel, pixel, event) {
    if (pixel === null) return choose(null);
    const chosen = { prediction: image.prediction.ids[pixel] };
    if (image.truth) chosen.truth = image.truth.ids[pixel];
    const missed = settings().errors && panels.length === 1 && image.truth.segments[chosen.truth].outcome === "missed";
    for (const one of panels) {
      const side = one.side === "none" ? "prediction" : one.side;
      one.highlight(missed ? "truth" : side, chosen[missed ? "truth" : side]);
    }
    seamseg.markRows(chosen);
    seamseg.showTooltip(image, chosen, event.clientX, event.clientY);
  }

  function pick(panel, pixel) {
    if (pixel === null) return;
    const side = panel.side === "none" ? "prediction" : panel.side;
    seamseg.focusRow(side, image[side].ids[pixel]);
  }

  /** Highlight a segment of the list and its partner on the other side; null for none. */
  function choose(side, id) {
    seamseg.hideTooltip();
    if (!image) return;
    const chosen = side === null ? {} : { [side]: id };
    const partner = side === null ? undefined : image[side].segments[id].partner;
    if (partner !== undefined) chosen[seamseg.other(side)] = partner;
    for (const panel of panels) {
      if (chosen[panel.side] !== undefined) panel.highlight(panel.side, chosen[panel.side]);
      else if (side !== null && panels.length === 1) panel.highlight(side, id);
      else panel.highlight(null);
    }
    seamseg.markRows(chosen);
  }

  /** Place the panels side by side or one above the other, whichever makes them larger. */
  function placePanels() {
    const box = seamseg.byId("panels");
    if (!image || !box.clientWidth) return;
    const ratio = image.shown[1] / image.shown[0];
    const room = innerHeight - Math.max(0, Math.min(box.getBoundingClientRect().top + scrollY, innerHeight / 2)) - 24;
    const caption = 28;
    const width = (across, down) => Math.min(box.clientWidth / across - 12, (room / down - caption) * ratio);
    const beside = panels.length > 1 && width(2, 1) >= Math.min(box.clientWidth, width(1, 2));
    const best =
      panels.length === 1 ? width(1, 1) : beside ? width(2, 1) : Math.max(width(1, 2), Math.min(box.clientWidth, 320));
    box.classList.toggle("enlarged", best > image.shown[1]);
    box.style.setProperty("--panel-width", `${Math.max(120, Math.floor(best))}px`);
  }

  function prefetch() {
    const next = order[order.indexOf(shown) + 1];
    if (!next) return;
    seamseg.loadImage(next.file).catch(() => {}); // an error is shown when the image is opened
    new Image().src = `images/${next.file}.jpg`;
  }
})();
