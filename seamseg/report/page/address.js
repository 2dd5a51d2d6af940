// The state of the page is in the address, so that going back, reloading and sharing a link work.
"use strict";

(() => {
  const KEYS = ["view", "image", "class", "errors", "sort", "order", "q"];

  /** Return the state: all keys with their values as text; "" for keys that the address does not have. */
  seamseg.place = () => {
    const parameters = new URLSearchParams(location.hash.slice(1));
    return Object.fromEntries(KEYS.map((key) => [key, parameters.get(key) ?? ""]));
  };

  /** Return the address of the state after a change; keys that are not in `change` keep their values. */
  seamseg.link = (change) => {
    const parameters = new URLSearchParams();
    for (const [key, value] of Object.entries({ ...seamseg.place(), ...change })) {
      if (value !== "") parameters.set(key, value);
    }
    return `#${parameters}`;
  };

  /** Change the state, with a new entry in the browser's history. */
  seamseg.go = (change) => (location.hash = seamseg.link(change));

  /** Change the state without a new entry in the browser's history. */
  seamseg.replacePlace = (change) => location.replace(seamseg.link(change));
})();
