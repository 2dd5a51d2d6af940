// Theme of the page: light, dark, or that of the system.
"use strict";

seamseg.startTheme = () => {
  const select = seamseg.byId("theme");
  const apply = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  };
  const known = ["auto", "light", "dark"];
  const chosen = seamseg.remembered("theme", "auto");
  select.value = known.includes(chosen) ? chosen : "auto";
  apply(select.value);
  select.addEventListener("change", () => {
    apply(select.value);
    seamseg.remember("theme", select.value);
  });
};
