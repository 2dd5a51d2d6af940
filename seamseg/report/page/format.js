// Numbers as people read them.
"use strict";

/** A fraction of 1 in percent with one decimal, as `seamseg score` prints it; "–" where there is none. */
seamseg.percent = (value) => (value === null || value === undefined ? "–" : (100 * value).toFixed(1));

/** 12345 as 12 345, with spaces that do not break. */
seamseg.count = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");

seamseg.plural = (number, one, many) => `${seamseg.count(number)} ${number === 1 ? one : many}`;

/** The share of an image in percent; small ones say that they are not nothing. */
seamseg.share = function (pixels, all) {
  const percent = (100 * pixels) / all;
  return percent > 0 && percent < 0.05 ? "< 0.1 %" : `${percent.toFixed(1)} %`;
};
