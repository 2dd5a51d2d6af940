// Toolbar above the grid: search, class, errors and order.
"use strict";

(() => {
  const { element } = seamseg;
  let fields;

  seamseg.startFilters = () => {
    const { classes, annotated } = seamseg.index;
    const named = classes.map((entry, number) => ({ ...entry, number })).filter((entry) => entry.images > 0);
    const option = (value, text) => element("option", { value, text });
    const group = (label, thing) =>
      element(
        "optgroup",
        { label },
        ...named
          .filter((entry) => entry.thing === thing)
          .map((entry) => option(entry.number, `${entry.name} (${seamseg.count(entry.images)})`)),
      );
    const kinds = seamseg.KINDS.map((kind) => option(kind.name, kind.text));
    fields = {
      q: element("input", {
        type: "search",
        id: "search",
        placeholder: "Search by name",
        autocomplete: "off",
        spellcheck: "false",
      }),
      class: element("select", { id: "class" }, option("", "All"), group("Things", true), group("Stuff", false)),
      errors: element("select", { id: "errors" }, option("", "All"), option("any", "Any error"), ...kinds),
      sort: element("select", { id: "sort" }, ...seamseg.sorts().map((sort) => option(sort.key, sort.text))),
      order: element("button", { type: "button", id: "order" }),
    };
    seamseg
      .byId("filters")
      .append(
        labeled("Name", fields.q),
        labeled("Class", fields.class),
        ...(annotated ? [labeled("Errors", fields.errors)] : []),
        labeled("Sort by", fields.sort),
        fields.order,
      );
    listen();
  };

  function labeled(text, field) {
    return element("label", {}, element("span", { text }), field);
  }

  function listen() {
    for (const key of ["q", "class", "errors", "sort"]) {
      fields[key].addEventListener(key === "q" ? "input" : "change", () =>
        seamseg.replacePlace({ [key]: fields[key].value, ...(key === "sort" ? { order: "" } : {}) }),
      );
    }
    fields.order.addEventListener("click", () =>
      seamseg.replacePlace({ order: seamseg.place().order === "reversed" ? "" : "reversed" }),
    );
    seamseg.byId("filters").addEventListener("submit", (event) => event.preventDefault());
    seamseg
      .byId("clear-filters")
      .addEventListener("click", () => seamseg.replacePlace({ q: "", class: "", errors: "" }));
  }

  seamseg.showFilters = (place, numShown) => {
    const sort = seamseg.sortOf(place);
    if (fields.q.value !== place.q) fields.q.value = place.q;
    fields.class.value = place.class;
    fields.errors.value = place.errors;
    fields.sort.value = sort.key;
    fields.order.textContent = sort.names[place.order === "reversed" ? 1 : 0];
    const all = seamseg.index.images.length;
    const images = seamseg.plural(all, "image", "images");
    const chosen = seamseg.index.classes[place.class];
    const about = chosen && seamseg.index.annotated ? ` · PQ and errors of ${chosen.name}` : "";
    seamseg.byId("count").textContent = (numShown === all ? images : `${seamseg.count(numShown)} of ${images}`) + about;
    seamseg.byId("nothing").hidden = numShown > 0;
  };
})();
