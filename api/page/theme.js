// Light and dark: as the system has it, until somebody chooses.

import { find } from "./dom.js";
import { theme } from "./store.js";

const system = matchMedia("(prefers-color-scheme: dark)");

const isDark = () => (theme.get() ? theme.get() === "dark" : system.matches);

function apply() {
  if (theme.get()) document.documentElement.dataset.theme = theme.get();
  find("theme").setAttribute("aria-pressed", String(isDark()));
  document.dispatchEvent(new CustomEvent("theme"));
}

export function start() {
  find("theme").addEventListener("click", () => {
    theme.set(isDark() ? "light" : "dark");
    apply();
  });
  system.addEventListener("change", apply);
  apply();
}
