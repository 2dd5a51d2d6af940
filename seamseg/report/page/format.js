// Formatting of numbers.
"use strict";

/** Format a fraction in percent with one decimal and without "%", as `seamseg score` does; "–" for null. */
seamseg.percent = (value) => (value === null || value === undefined ? "–" : (100 * value).toFixed(1));

/** Format a count with commas: 12,345. */
seamseg.count = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ",");

/** Format a count with a noun: "1 image", "2 images". */
seamseg.plural = (number, one, many) => `${seamseg.count(number)} ${number === 1 ? one : many}`;

/** Format the share of an image in percent; "< 0.1%" for shares that would round to zero. */
seamseg.share = function (pixels, all) {
  const percent = (100 * pixels) / all;
  return percent > 0 && percent < 0.05 ? "< 0.1%" : `${percent.toFixed(1)}%`;
};
