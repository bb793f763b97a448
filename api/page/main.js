// Begins: reads the address, wires the parts, and asks for a key where the service needs one.

import { announce, find, notice, write } from "./dom.js";
import { library } from "./chart.js";
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
  };
  const use = (text) => {
    key.set(text);
    find("key").value = "";
    open(false);
    document.dispatchEvent(new CustomEvent("key-changed"));
  };
  find("key-button").addEventListener("click", () => {
    open(panel.hidden);
    if (!panel.hidden) find("key").focus();
  });
  find("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const typed = find("key").value.trim();
    const right = /^[\x21-\x7e]*$/.test(typed);
    write(find("key-error"), right ? "" : "A key has letters, digits and signs of ASCII only.");
    find("key").setAttribute("aria-invalid", String(!right));
    if (right) use(typed);
  });
  find("key-forget").addEventListener("click", () => use(""));
  document.addEventListener("key-needed", () => {
    notice(key.get() ? "The service does not know this API key, or no longer." : "This service needs an API key.");
    if (!panel.hidden) return;
    open(true);
    if (document.activeElement === document.body) find("key").focus(); // else somebody is typing elsewhere
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
    write(find("spec-loading"), error.status === 401 ? "The settings are shown to who has a key." : `The settings cannot be read: ${error.message}`);
    for (const event of ["connected", "key-changed"]) document.addEventListener(event, () => find("spec-loading") && buildForm(again), { once: true });
  }
}

for (const link of document.querySelectorAll("[data-to]"))
  link.addEventListener("click", (event) => {
    event.preventDefault(); // the fragment of the address is the page's state
    find(link.dataset.to).focus();
    find(link.dataset.to).scrollIntoView();
  });
complain(readAddress());
followAddress(complain);
keys();
theme.start();
watch.start();
const again = runs.start();
compare.start();
sweep.start();
digit.start();
buildForm(again).then(() => setTimeout(() => library().catch(() => {}), 500)); // before the first chart is needed, after all that is seen first
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
