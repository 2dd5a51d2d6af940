// Layers over an image, and the toolbar that selects them.
"use strict";

(() => {
  const { element } = seamseg;
  let controls;
  let onchange;

  /** Chosen layers: sides, errors, kinds of errors by name, and opacity 0 … 1; the same for all images. */
  seamseg.chosenLayers = {
    prediction: true,
    truth: true,
    errors: false,
    kinds: new Set(seamseg.KINDS.map((kind) => kind.name)),
    opacity: 0.55,
  };

  seamseg.startLayerControls = (tell) => {
    onchange = tell;
    controls = {
      prediction: toggle("prediction", "Prediction", "p"),
      truth: toggle("truth", "Ground truth", "g"),
      errors: toggle("errors", "Errors", "e"),
      kinds: element(
        "span",
        { class: "kinds", role: "group", "aria-label": "Kinds of errors" },
        ...seamseg.KINDS.map(kindToggle),
      ),
      opacity: opacitySlider(),
    };
    seamseg.byId("layers").append(...Object.values(controls));
  };

  /** Show the chosen layers; without an annotation, ground truth and errors are hidden. */
  seamseg.showLayerControls = (annotated) => {
    const chosen = seamseg.chosenLayers;
    for (const key of ["prediction", "truth", "errors"]) controls[key].firstChild.checked = chosen[key];
    controls.truth.hidden = controls.errors.hidden = !annotated;
    controls.kinds.hidden = !(annotated && chosen.errors);
    const percent = Math.round(100 * chosen.opacity);
    controls.opacity.querySelector("input").value = percent;
    controls.opacity.querySelector("output").textContent = `${percent}%`;
  };

  seamseg.chooseLayers = (change) => {
    Object.assign(seamseg.chosenLayers, change);
    onchange();
  };

  seamseg.changeOpacity = (step) =>
    seamseg.chooseLayers({ opacity: Math.min(1, Math.max(0, seamseg.chosenLayers.opacity + step)) });

  function toggle(key, text, letter) {
    const box = element("input", {
      type: "checkbox",
      id: `show-${key}`,
      "aria-keyshortcuts": letter,
      onchange: () => seamseg.chooseLayers({ [key]: box.checked }),
    });
    return element("label", { class: "toggle" }, box, text, element("kbd", { text: letter, "aria-hidden": "true" }));
  }

  function kindToggle({ name, text, about }) {
    const box = element("input", { type: "checkbox", id: `kind-${name}`, checked: true, onchange: choose });
    return element(
      "label",
      { class: "toggle", title: about },
      box,
      element("span", { class: `sign ${name}`, "aria-hidden": "true" }),
      text,
    );

    function choose() {
      const kinds = new Set(seamseg.chosenLayers.kinds);
      if (box.checked) kinds.add(name);
      else kinds.delete(name);
      seamseg.chooseLayers({ kinds });
    }
  }

  function opacitySlider() {
    const slider = element("input", {
      type: "range",
      id: "opacity",
      max: "100",
      step: "5",
      oninput: () => seamseg.chooseLayers({ opacity: slider.value / 100 }),
    });
    return element("label", { class: "opacity" }, "Opacity", slider, element("output", { for: "opacity" }));
  }
})();
