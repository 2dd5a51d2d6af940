// Grid of images. Only the cards in and near the window exist, however many images there are.
"use strict";

(() => {
  const { element } = seamseg;
  const GAP = 16;
  const NARROWEST = 240;
  const CAPTION = 70; // height of the text below a picture
  const ROWS_AHEAD = 2;

  const cards = new Map(); // position in the order → element
  let order = [];
  let place;
  let current = 0; // position of the card that the Tab key reaches
  let shape = { columns: 1, width: NARROWEST, row: 200 };
  let grid;

  seamseg.startGrid = () => {
    grid = seamseg.byId("grid");
    grid.addEventListener("keydown", move);
    grid.addEventListener("focusin", (event) => setCurrent(Number(event.target.closest("li").dataset.position)));
    addEventListener("scroll", () => requestAnimationFrame(fill), { passive: true });
    new ResizeObserver(measure).observe(grid);
  };

  /** Show images in this order, and focus the card of the file `focused` if it is one of them. */
  seamseg.showGrid = (images, at, focused) => {
    order = images;
    place = at;
    const position = focused ? images.findIndex((image) => image.file === focused) : -1;
    current = Math.max(0, position);
    for (const card of cards.values()) card.remove();
    cards.clear();
    measure();
    if (position >= 0) focusCard(position);
  };

  function measure() {
    if (grid.clientWidth === 0) return; // the grid is hidden
    const columns = Math.max(1, Math.floor((grid.clientWidth + GAP) / (NARROWEST + GAP)));
    const width = (grid.clientWidth - GAP * (columns - 1)) / columns;
    shape = { columns, width, row: width * pictureRatio() + CAPTION + GAP };
    grid.style.height = `${Math.ceil(order.length / columns) * shape.row}px`;
    grid.style.setProperty("--card-width", `${width}px`);
    grid.style.setProperty("--picture-height", `${width * pictureRatio()}px`);
    for (const [position, card] of cards) put(card, position);
    fill();
  }

  /** Return height / width of the pictures: the median of all images, clamped to 0.45 … 0.8. */
  function pictureRatio() {
    const { images } = seamseg.index;
    const ratios = images.map(({ size: [height, width] }) => height / width).sort((one, other) => one - other);
    return Math.min(0.8, Math.max(0.45, ratios[ratios.length >> 1]));
  }

  function fill() {
    if (grid.clientWidth === 0) return;
    const top = -grid.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(top / shape.row) - ROWS_AHEAD) * shape.columns;
    const last = Math.min(order.length, (Math.ceil((top + innerHeight) / shape.row) + ROWS_AHEAD) * shape.columns);
    const focused = grid.contains(document.activeElement);
    if (!focused && (current < first || current >= last))
      setCurrent(Math.min(first + ROWS_AHEAD * shape.columns, order.length - 1));
    for (const [position, card] of cards) {
      if ((position < first || position >= last) && !card.contains(document.activeElement)) {
        card.remove();
        cards.delete(position);
      }
    }
    for (let position = first; position < last; position++) if (!cards.has(position)) add(position);
  }

  function add(position) {
    const card = makeCard(order[position], position);
    put(card, position);
    cards.set(position, card);
    const next = [...cards.keys()].filter((other) => other > position).sort((one, other) => one - other)[0];
    grid.insertBefore(card, next === undefined ? null : cards.get(next)); // keep the reading order
  }

  function put(card, position) {
    const [row, column] = [Math.floor(position / shape.columns), position % shape.columns];
    card.style.transform = `translate(${column * (shape.width + GAP)}px, ${row * shape.row}px)`;
  }

  function makeCard(image, position) {
    const quality = seamseg.qualityOf(image, place.class);
    const errors = seamseg.numErrors(image, place.class, place.errors);
    const facts = [seamseg.plural(image.segments, "segment", "segments")];
    if (image.quality) facts.push(seamseg.plural(errors, "error", "errors"));
    else if (image.score !== null) facts.push(`mean score ${seamseg.percent(image.score)}`);
    const bar = seamseg.bar({ matched: quality });
    const names = image.classes.map((number) => seamseg.index.classes[number].name).join(", ");
    const link = element(
      "a",
      { href: seamseg.link({ image: image.file }), tabindex: position === current ? "0" : "-1" },
      element("img", {
        src: `thumbnails/${image.file}.jpg`,
        alt: `Segments of ${image.name}: ${names || "void"}`,
        decoding: "async",
      }),
      element("span", { class: "name", text: image.name, title: image.name }),
      image.quality ? element("span", { class: "quality", text: `PQ ${seamseg.percent(quality)}` }) : null,
      image.quality ? bar : null,
      element("span", { class: "facts", text: facts.join(" · ") }),
    );
    return element(
      "li",
      {
        class: "card",
        "data-position": position,
        "data-file": image.file,
        "aria-posinset": position + 1,
        "aria-setsize": order.length,
      },
      link,
    );
  }

  function setCurrent(position) {
    cards.get(current)?.firstChild.setAttribute("tabindex", "-1");
    current = Math.max(0, position);
    cards.get(current)?.firstChild.setAttribute("tabindex", "0");
  }

  function focusCard(position) {
    const top = grid.getBoundingClientRect().top + Math.floor(position / shape.columns) * shape.row;
    const header = seamseg.byId("filters").getBoundingClientRect().bottom;
    if (top < Math.max(0, header)) scrollBy(0, top - Math.max(0, header) - GAP);
    else if (top + shape.row > innerHeight) scrollBy(0, top + shape.row - innerHeight);
    setCurrent(position);
    fill();
    cards.get(position)?.firstChild.focus({ preventScroll: true });
  }

  function move(event) {
    const rows = Math.max(1, Math.floor(innerHeight / shape.row)) * shape.columns;
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -shape.columns,
      ArrowDown: shape.columns,
      PageUp: -rows,
      PageDown: rows,
      Home: -Infinity,
      End: Infinity,
    };
    const step = steps[event.key];
    if (step === undefined || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    event.stopPropagation();
    focusCard(Math.min(order.length - 1, Math.max(0, current + step)));
  }
})();
