// Where the user is stands in the address, so that going back, reloading and sharing a link do what they should.
"use strict";

(() => {
  const KEYS = ["view", "image", "class", "errors", "sort", "order", "q"];

  /** All keys with their values as text; "" where the address says nothing. */
  seamseg.place = () => {
    const parameters = new URLSearchParams(location.hash.slice(1));
    return Object.fromEntries(KEYS.map((key) => [key, parameters.get(key) ?? ""]));
  };

  /** The address of another place; what the change does not name stays. */
  seamseg.link = (change) => {
    const parameters = new URLSearchParams();
    for (const [key, value] of Object.entries({ ...seamseg.place(), ...change })) {
      if (value !== "") parameters.set(key, value);
    }
    return `#${parameters}`;
  };

  seamseg.go = (change) => (location.hash = seamseg.link(change));

  /** Without a step to go back to. */
  seamseg.replacePlace = (change) => location.replace(seamseg.link(change));
})();
