// Makes elements: no text ever becomes markup, whatever the names of files and classes contain.
"use strict";

window.seamseg = window.seamseg || {};

/** element("a", {href: "#", class: "button", text: "Back"}, child, …); properties with a null or false value are left out. */
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

/** A bar of parts, {kind: fraction of its width}; for the eyes alone. */
seamseg.bar = function (parts) {
  const made = seamseg.element("span", { class: "bar", "aria-hidden": "true" });
  for (const [kind, fraction] of Object.entries(parts)) {
    const part = seamseg.element("span", { class: `bar-part ${kind}` });
    part.style.width = `${100 * (fraction ?? 0)}%`;
    made.append(part);
  }
  return made;
};

/** Something the user chose, kept for the next visit where the browser allows it. */
seamseg.remembered = function (key, otherwise) {
  try {
    return localStorage.getItem(`seamseg-report-${key}`) ?? otherwise;
  } catch {
    return otherwise;
  }
};

seamseg.remember = function (key, value) {
  try {
    localStorage.setItem(`seamseg-report-${key}`, value);
  } catch {
    // A browser that keeps nothing for files: the choice holds until the page is closed.
  }
};
