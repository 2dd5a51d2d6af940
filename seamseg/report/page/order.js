// Which images are shown, and in which order.
"use strict";

(() => {
  /** Kinds of errors: TIDE's names, as in the data, and what they mean on either side. */
  seamseg.KINDS = [
    { name: "missed", text: "Missed", about: "true segment without a similar prediction" },
    { name: "classification", text: "Classification", about: "right place, wrong class" },
    { name: "localization", text: "Localization", about: "right class, wrong shape" },
    { name: "duplicate", text: "Duplicate", about: "another prediction already matches this object" },
    { name: "background", text: "Background", about: "prediction without a similar true segment" },
  ];

  /** Ways to sort: which number, whether small ones come first, and how the two directions are called. */
  const SORTS = {
    pq: {
      text: "PQ",
      value: (image, place) => seamseg.qualityOf(image, place.class),
      up: true,
      names: ["Worst first", "Best first"],
    },
    errors: {
      text: "Number of errors",
      value: (image, place) => seamseg.numErrors(image, place.class, place.errors),
      up: false,
      names: ["Most first", "Fewest first"],
    },
    name: { text: "Name", value: (image) => image.position, up: true, names: ["A to Z", "Z to A"] },
    segments: {
      text: "Number of segments",
      value: (image) => image.segments,
      up: false,
      names: ["Most first", "Fewest first"],
    },
    score: {
      text: "Mean score of objects",
      value: (image) => image.score,
      up: true,
      names: ["Least sure first", "Surest first"],
    },
  };

  /** Those that mean something in this report. */
  seamseg.sorts = () => {
    const { annotated, images } = seamseg.index;
    const scored = images.some((image) => image.score !== null);
    const has = { pq: annotated, errors: annotated, score: scored, name: true, segments: true };
    return Object.entries(SORTS)
      .filter(([key]) => has[key])
      .map(([key, sort]) => ({ key, ...sort }));
  };

  seamseg.sortOf = (place) => {
    const sorts = seamseg.sorts();
    return sorts.find((sort) => sort.key === place.sort) ?? sorts[0];
  };

  /** PQ of an image, or of one class in it; null where there is none. */
  seamseg.qualityOf = (image, className) => {
    if (className === "" || !image.quality) return image.pq ?? null;
    const row = image.quality.find(([number]) => String(number) === className);
    if (!row) return null;
    const [, iouSum, tp, fp, fn] = row;
    return iouSum / (tp + fp / 2 + fn / 2);
  };

  /** Segments that went wrong, of both sides: all, of a class, of a kind. */
  seamseg.numErrors = (image, className, kind) => {
    let total = 0;
    for (const [number, what, count] of image.errors) {
      const fits =
        (className === "" || String(number) === className) && (kind === "" || kind === "any" || kind === what);
      if (fits) total += count;
    }
    return total;
  };

  /** The images of a place, in its order; those without the number that is sorted by come last. */
  seamseg.arrange = (place) => {
    const query = place.q.trim().toLowerCase();
    const chosen = seamseg.index.images.filter(
      (image) =>
        (place.class === "" || image.classes.includes(Number(place.class))) &&
        (place.errors === "" || seamseg.numErrors(image, place.class, place.errors) > 0) &&
        (query === "" || image.name.toLowerCase().includes(query)),
    );
    const sort = seamseg.sortOf(place);
    const sign = sort.up !== (place.order === "reversed") ? 1 : -1;
    const values = new Map(chosen.map((image) => [image, sort.value(image, place)]));
    return chosen.sort((one, other) => {
      const [a, b] = [values.get(one), values.get(other)];
      if (a === null || b === null) return (a === null) - (b === null) || one.position - other.position;
      return sign * (a - b) || one.position - other.position;
    });
  };
})();
