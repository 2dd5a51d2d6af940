// Filtering and sorting of the images.
"use strict";

(() => {
  /** Kinds of errors: TIDE's names as in the data, and what they mean. */
  seamseg.KINDS = [
    { name: "missed", text: "Missed", about: "True segment without a similar prediction" },
    { name: "classification", text: "Classification", about: "Right place, wrong class" },
    { name: "localization", text: "Localization", about: "Right class, wrong shape" },
    { name: "duplicate", text: "Duplicate", about: "Another prediction already matches this object" },
    { name: "background", text: "Background", about: "Prediction without a similar true segment" },
  ];

  /** Ways to sort: the value, whether small values come first, and the names of both directions. */
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
      names: ["Lowest first", "Highest first"],
    },
  };

  /** Return the ways to sort that apply to this report. */
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

  /** Return PQ of an image, or of one class in it; null if it is undefined. */
  seamseg.qualityOf = (image, className) => {
    if (className === "" || !image.quality) return image.pq ?? null;
    const row = image.quality.find(([number]) => String(number) === className);
    if (!row) return null;
    const [, iouSum, tp, fp, fn] = row;
    return iouSum / (tp + fp / 2 + fn / 2);
  };

  /** Return the number of true and predicted segments with errors, of one class and one kind if given. */
  seamseg.numErrors = (image, className, kind) => {
    let total = 0;
    for (const [number, what, count] of image.errors) {
      const fits =
        (className === "" || String(number) === className) && (kind === "" || kind === "any" || kind === what);
      if (fits) total += count;
    }
    return total;
  };

  /** Return the images that match the filters of `place` in its order; images without a value to sort by come last. */
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
