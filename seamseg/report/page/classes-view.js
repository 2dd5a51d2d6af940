// Table of classes with scores, or with counts if there is no annotation.
"use strict";

(() => {
  const { element } = seamseg;
  let sorted = { key: null, up: false };

  seamseg.showClasses = () => {
    const { title, scores, notes, numScored, images } = seamseg.index;
    document.title = `Classes – ${title}`;
    const about = scores
      ? `Over ${seamseg.plural(numScored, "annotated image", "annotated images")}. Scores in percent.`
      : `Over ${seamseg.plural(images.length, "image", "images")}, without ground truth.`;
    seamseg
      .byId("classes-view")
      .replaceChildren(
        ...(scores ? [tiles(scores)] : []),
        element("p", { class: "about", text: [about, ...notes.map((note) => `Note: ${note}.`)].join(" ") }),
        ...(scores ? [legend()] : []),
        element("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "Table of classes" }, table()),
      );
  };

  function tiles(scores) {
    const tile = (name, value, details) =>
      element(
        "div",
        { class: "tile" },
        element("span", { class: "tile-name", text: name }),
        element("b", { text: seamseg.percent(value) }),
        element("span", { class: "tile-details", text: details }),
      );
    const quality = (name, one) =>
      tile(
        `${name}, ${seamseg.plural(one.n, "class", "classes")}`,
        one.pq,
        `SQ ${seamseg.percent(one.sq)} · RQ ${seamseg.percent(one.rq)}`,
      );
    return element(
      "div",
      { class: "tiles" },
      quality("PQ", scores.all),
      quality("PQ of things", scores.things),
      quality("PQ of stuff", scores.stuff),
      tile("PQ†", scores.pq_dagger, "no IoU threshold for stuff"),
      tile("Boundary PQ", scores.boundary.all.pq, "with the IoU of borders"),
      tile("Mean IoU", scores.miou, "over all pixels"),
    );
  }

  function legend() {
    return element(
      "p",
      { class: "legend", "aria-hidden": "true" },
      ...seamseg.OUTCOMES.map((name) => element("span", {}, element("span", { class: `sign ${name}` }), name)),
    );
  }

  function table() {
    const all = seamseg.index.classes.map((entry, number) => ({ ...entry, number }));
    const seen = all.filter((entry) => entry.images > 0);
    const body = element("tbody", {}, ...arranged(seen).map(row));
    const absent = all.length - seen.length;
    return element(
      "table",
      { class: "classes" },
      element("caption", {
        text: absent
          ? `Not listed: ${seamseg.plural(absent, "class", "classes")} without true or predicted segments`
          : "",
      }),
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          header({ key: "name", title: "Class", about: "Name of the class", text: true }),
          ...seamseg.classColumns().map(header),
        ),
      ),
      body,
    );
  }

  function header(column) {
    const direction = sorted.key === column.key ? (sorted.up ? "ascending" : "descending") : "none";
    const sort = () => {
      sorted = { key: column.key, up: sorted.key === column.key ? !sorted.up : Boolean(column.text) };
      seamseg.showClasses();
      document.querySelector(`th[data-key="${column.key}"] button`).focus();
    };
    return element(
      "th",
      { scope: "col", "aria-sort": direction, "data-key": column.key, class: column.text ? null : "number" },
      element("button", { type: "button", title: column.about, onclick: sort, text: column.title }),
    );
  }

  /** Sort by the chosen column, classes without a value last; by default things before stuff, frequent ones first. */
  function arranged(entries) {
    const column = seamseg.classColumns().find((one) => one.key === sorted.key);
    const sign = sorted.up ? 1 : -1;
    if (sorted.key === "name") return entries.sort((one, other) => sign * one.name.localeCompare(other.name));
    if (!column) return entries.sort((one, other) => other.thing - one.thing || other.segments - one.segments);
    const value = (entry) => (Number.isFinite(column.value(entry)) ? column.value(entry) : null);
    return entries.sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (a - b);
    });
  }

  function row(entry) {
    const place = { view: "", class: String(entry.number), image: "", errors: "", q: "" };
    const link = element("a", {
      href: seamseg.link(place),
      title: "Show the images with this class",
      text: entry.name,
    });
    const name = element(
      "th",
      { scope: "row" },
      element(
        "span",
        { class: "class-name" },
        element("span", { class: "swatch", color: entry.color, "aria-hidden": "true" }),
        link,
        element("span", { class: "kind-of-class", text: entry.thing ? "thing" : "stuff" }),
      ),
    );
    return element(
      "tr",
      { "data-class": entry.name },
      name,
      ...seamseg.classColumns().map((column) => column.cell(entry)),
    );
  }
})();
