// Functions that make elements. Text never becomes markup, whatever the names of files and classes contain.
"use strict";

window.seamseg = window.seamseg || {};

/**
 * Make an element: element("a", {href: "#", class: "button", text: "Back"}, child, …).
 * Properties that are null, undefined or false are skipped.
 */
seamseg.element = function (tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "text") made.textContent = value;
    else if (key === "color") made.style.setProperty("--color", value);
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
};

seamseg.byId = (id) => document.getElementById(id);

/** Make a bar of parts, {kind: fraction of its width}; screen readers skip it. */
seamseg.bar = function (parts) {
  const made = seamseg.element("span", { class: "bar", "aria-hidden": "true" });
  for (const [kind, fraction] of Object.entries(parts)) {
    const part = seamseg.element("span", { class: `bar-part ${kind}` });
    part.style.width = `${100 * (fraction ?? 0)}%`;
    made.append(part);
  }
  return made;
};

/** Return a choice that the user made on an earlier visit, or `otherwise`. */
seamseg.remembered = function (key, otherwise) {
  try {
    return localStorage.getItem(`seamseg-report-${key}`) ?? otherwise;
  } catch {
    return otherwise;
  }
};

/** Save a choice of the user for the next visit. */
seamseg.remember = function (key, value) {
  try {
    localStorage.setItem(`seamseg-report-${key}`, value);
  } catch {
    // The browser has no storage for local files, so the choice is lost when the page is closed.
  }
};
