// Begins: reads the address, wires the parts, and asks for a key where the service needs one.

import { announce, find, notice, write } from "./dom.js";
import * as compare from "./compare.js";
import * as digit from "./digit.js";
import * as form from "./form.js";
import * as runs from "./runs.js";
import { change, followAddress, onChange, readAddress, state } from "./state.js";
import { key } from "./store.js";
import * as sweep from "./sweep.js";
import * as theme from "./theme.js";
import * as watch from "./watch.js";
import { FINISHED } from "./words.js";

function complain(wrong) {
  notice(wrong.length ? `This link has parts that are not known here and were left out: ${wrong.join(", ")}.` : "");
}

function keys() {
  const panel = find("key-panel");
  const open = (shown) => {
    panel.hidden = !shown;
    find("key-button").setAttribute("aria-expanded", String(shown));
    if (shown) find("key").focus();
  };
  const use = (text) => {
    key.set(text);
    find("key").value = "";
    open(false);
    document.dispatchEvent(new CustomEvent("key-changed"));
  };
  find("key-button").addEventListener("click", () => open(panel.hidden));
  find("key-form").addEventListener("submit", (event) => (event.preventDefault(), use(find("key").value.trim())));
  find("key-forget").addEventListener("click", () => use(""));
  document.addEventListener("key-needed", () => {
    notice(key.get() ? "The service does not know this API key, or no longer." : "This service needs an API key.");
    if (panel.hidden) open(true);
  });
  document.addEventListener("key-changed", () => notice(""));
}

async function buildForm(again) {
  try {
    await form.build((made, many) => {
      if (many) change({ sweep: made.id, first: "0" }, { step: true });
      else change({ experiment: made.id }, { step: true });
      again();
      find(many ? "sweep" : "watch").scrollIntoView({ block: "nearest" });
    });
  } catch (error) {
    write(find("spec-loading"), `The settings cannot be read: ${error.message}`);
    for (const event of ["connected", "key-changed"]) document.addEventListener(event, () => find("spec-loading") && buildForm(again), { once: true });
  }
}

complain(readAddress());
followAddress(complain);
keys();
theme.start();
watch.start();
const again = runs.start();
compare.start();
sweep.start();
digit.start(null);
buildForm(again);
onChange((changes) => {
  if ("form" in changes && "experiment" in changes) form.restore(); // the way back, or forth
});
watch.onNews((experiment) => {
  digit.use(experiment);
  if (FINISHED.has(experiment?.status)) again();
});
find("copy-link").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(location.href);
    announce("The link is copied.");
    find("copy-link").textContent = "Copied";
    setTimeout(() => (find("copy-link").textContent = "Copy link"), 2000);
  } catch {
    notice(`The link to what you see: ${location.href}`);
  }
});
