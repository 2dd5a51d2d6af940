// Keyboard shortcuts, and the dialog that lists them.
"use strict";

(() => {
  const { element } = seamseg;
  const IMAGE_KEYS = {
    ArrowLeft: ["←", "Previous image", () => seamseg.stepImage(-1)],
    ArrowRight: ["→", "Next image", () => seamseg.stepImage(1)],
    Escape: ["Esc", "Back to all images", () => seamseg.go({ image: "" })],
    p: ["p", "Show or hide the prediction", () => seamseg.toggleLayer("prediction")],
    g: ["g", "Show or hide the ground truth", () => seamseg.toggleLayer("truth")],
    e: ["e", "Show or hide errors", () => seamseg.toggleLayer("errors")],
    "-": ["−", "Decrease opacity", () => seamseg.changeOpacity(-0.1)],
    "+": ["+", "Increase opacity", () => seamseg.changeOpacity(0.1)],
  };
  const ANYWHERE = {
    "/": ["/", "Search by name", () => search()],
    i: ["i", "Images", () => seamseg.go({ view: "", image: "" })],
    c: ["c", "Classes", () => seamseg.go({ view: "classes", image: "" })],
    "?": ["?", "List of shortcuts", () => seamseg.byId("help").showModal()],
  };
  const LISTED_ONLY = [
    ["↑ ↓ ← →", "Move between images in the grid, or between segments in the list"],
    ["Enter", "Open the selected image"],
  ];

  seamseg.startKeys = () => {
    const letters = seamseg.byId("letters");
    letters.checked = seamseg.remembered("letters", "yes") === "yes";
    letters.addEventListener("change", () => seamseg.remember("letters", letters.checked ? "yes" : "no"));
    const lines = [...Object.values(IMAGE_KEYS), ...Object.values(ANYWHERE), ...LISTED_ONLY];
    seamseg
      .byId("help-keys")
      .append(
        element(
          "dl",
          {},
          ...lines.flatMap(([key, text]) => [
            element("dt", {}, element("kbd", { text: key })),
            element("dd", { text }),
          ]),
        ),
      );
    seamseg.byId("open-help").addEventListener("click", () => seamseg.byId("help").showModal());
    addEventListener("keydown", (event) => press(event, letters.checked));
  };

  function press(event, lettersWork) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented || seamseg.byId("help").open) return;
    if (event.key !== "Escape" && event.target.matches("select, textarea, input[type=search], input[type=range]"))
      return;
    const single = event.key.length === 1;
    if (single && !lettersWork) return;
    const key = event.key === "=" ? "+" : event.key;
    const action = (seamseg.place().image !== "" && IMAGE_KEYS[key]) || ANYWHERE[key];
    if (!action) return;
    event.preventDefault();
    action[2]();
  }

  function search() {
    if (seamseg.place().image !== "" || seamseg.place().view !== "") return;
    seamseg.byId("search").focus();
  }
})();
