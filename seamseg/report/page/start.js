// Start of the page: sets up all parts, and shows the view that the address names.
"use strict";

(() => {
  const VIEWS = ["images", "image", "classes"];
  let before = { view: null, image: "", arrangement: null };
  let order = [];

  function follow() {
    const place = seamseg.place();
    const view = place.image !== "" ? "image" : place.view === "classes" ? "classes" : "images";
    const changed = view !== before.view;
    for (const name of VIEWS) seamseg.byId(`${name}-view`).hidden = name !== view;
    showNavigation(view);
    const arrangement = JSON.stringify([place.class, place.errors, place.sort, place.order, place.q]);
    const rearranged = arrangement !== before.arrangement;
    if (rearranged) order = seamseg.arrange(place);
    if (view === "images") {
      seamseg.showFilters(place, order.length);
      if (changed || rearranged) seamseg.showGrid(order, place, changed ? before.image : "");
      document.title = seamseg.index.title;
    } else if (view === "image") {
      if (changed) scrollTo(0, 0);
      seamseg.showImage(place.image, order);
      if (changed && before.view !== null) seamseg.byId("image-name").focus({ preventScroll: true });
    } else {
      seamseg.showClasses();
      if (changed) scrollTo(0, 0);
    }
    if (view !== "image") seamseg.closeImage();
    before = { view, image: place.image, arrangement };
  }

  function showNavigation(view) {
    const links = { "to-images": view !== "classes", "to-classes": view === "classes" };
    for (const [id, here] of Object.entries(links)) {
      const link = seamseg.byId(id);
      link.setAttribute("href", seamseg.link({ view: id === "to-classes" ? "classes" : "", image: "" }));
      if (here) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }

  function showTitle() {
    const { title, scores, images, version } = seamseg.index;
    seamseg.byId("title").textContent = title;
    seamseg.byId("title").title = `Created by seamseg ${version}`;
    seamseg.byId("headline").textContent = scores
      ? `PQ ${seamseg.percent(scores.all.pq)} · things ${seamseg.percent(scores.things.pq)} · stuff ${seamseg.percent(scores.stuff.pq)} · mean IoU ${seamseg.percent(scores.miou)}`
      : seamseg.plural(images.length, "image", "images");
  }

  seamseg.startTheme();
  showTitle();
  seamseg.startFilters();
  seamseg.startGrid();
  seamseg.startImageView();
  seamseg.startKeys();
  seamseg.byId("skip").addEventListener("click", (event) => {
    event.preventDefault(); // keep the address, which holds the state
    seamseg.byId("main").focus();
  });
  addEventListener("hashchange", follow);
  follow();
})();
