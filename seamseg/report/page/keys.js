// Keys, and the window that lists them.
"use strict";

(() => {
  const { element } = seamseg;
  const IMAGE_KEYS = {
    ArrowLeft: ["←", "previous image", () => seamseg.stepImage(-1)],
    ArrowRight: ["→", "next image", () => seamseg.stepImage(1)],
    Escape: ["Esc", "all images", () => seamseg.go({ image: "" })],
    p: ["p", "prediction", () => seamseg.toggleLayer("prediction")],
    g: ["g", "ground truth", () => seamseg.toggleLayer("truth")],
    e: ["e", "errors", () => seamseg.toggleLayer("errors")],
    "-": ["−", "less opacity", () => seamseg.changeOpacity(-0.1)],
    "+": ["+", "more opacity", () => seamseg.changeOpacity(0.1)],
  };
  const ANYWHERE = {
    "/": ["/", "search a name", () => search()],
    i: ["i", "images", () => seamseg.go({ view: "", image: "" })],
    c: ["c", "classes", () => seamseg.go({ view: "classes", image: "" })],
    "?": ["?", "this list", () => seamseg.byId("help").showModal()],
  };
  const LISTED_ONLY = [
    ["↑ ↓ ← →", "from image to image in the grid, from segment to segment in the list"],
    ["Enter", "open the image"],
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
