// Light and dark: as the system has it, until somebody chooses.

import { find } from "./dom.js";

const NAME = "bnlab-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

const chosen = () => localStorage.getItem(NAME);
const isDark = () => (chosen() ? chosen() === "dark" : system.matches);

function apply() {
  const theme = chosen();
  if (theme) document.documentElement.dataset.theme = theme;
  find("theme").setAttribute("aria-pressed", String(isDark()));
  document.dispatchEvent(new CustomEvent("theme"));
}

export function start() {
  find("theme").addEventListener("click", () => {
    localStorage.setItem(NAME, isDark() ? "light" : "dark");
    apply();
  });
  system.addEventListener("change", apply);
  apply();
}
