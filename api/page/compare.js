// Compared experiments in one chart and one table; those that train are asked for again and again.

import { Problem, askJson, poll } from "./api.js";
import { draw, swatch } from "./chart.js";
import { fill, find, make, notice } from "./dom.js";
import { offer } from "./download.js";
import { change, onChange, state } from "./state.js";
import { watch } from "./watch.js";
import { ARMS, ARM_WORDS, FINISHED, flat, mean, range, value } from "./words.js";

const INTERVAL_MS = 2000;
const DERIVED = new Set(["preset", "batches_per_sample"]); // they tell nothing that other fields do not
const known = new Map(); // by id: {experiment, curve}, as asked for last

export function start() {
  document.addEventListener("key-changed", () => (known.clear(), show()));
  const looking = poll(INTERVAL_MS, look);
  onChange((changes) => {
    if ("compare" in changes) looking.now();
    if ("x" in changes || "scale" in changes) show();
  });
  find("compare-clear").addEventListener("click", () => change({ compare: [] }));
  offer(find("compare-downloads"), find("compare-chart"), () => state.compare, (action) => action().catch((error) => notice(error.message)));
  document.addEventListener("theme", show);
  looking.now();
}

async function look(signal) {
  const asked = state.compare.filter((id) => !FINISHED.has(known.get(id)?.experiment.status));
  const missing = [];
  await Promise.all(asked.map(async (id) => {
    try {
      const experiment = await askJson(`/experiments/${encodeURIComponent(id)}`, { signal });
      const curve = await askJson(`/experiments/${encodeURIComponent(id)}/curve?format=json`, { signal });
      known.set(id, { experiment, curve: curve.arms });
    } catch (error) {
      if (!(error instanceof Problem) || error.status >= 500 || error.status === 401 || error.status === 429) throw error;
      missing.push(id);
    }
  }));
  if (missing.length) {
    notice(`Left out of the comparison, for there is no such experiment: ${missing.join(", ")}.`);
    change({ compare: state.compare.filter((id) => !missing.includes(id)) });
  }
  if (asked.length || known.size) await show();
}

async function show() {
  const shown = state.compare.map((id) => known.get(id)).filter(Boolean);
  find("compare").hidden = !shown.length;
  if (!shown.length) return;
  const labels = distinguishing(shown.map((one) => one.experiment));
  fill(find("compare-table"), table(shown, labels));
  await draw(find("compare-chart"), shown.map((one, i) => ({ ...one, label: labels[i] })), state);
}

// Labels of what differs among the compared ones, and of nothing else: a field that only some networks have, among those.
function distinguishing(experiments) {
  const specs = experiments.map((one) => Object.fromEntries(flat(one.spec)));
  const all = [...new Set(specs.flatMap(Object.keys))];
  const differ = (name) => new Set(specs.filter((spec) => name in spec).map((spec) => JSON.stringify(spec[name]))).size > 1;
  const names = all.filter((name) => !DERIVED.has(name) && differ(name));
  const telling = names.filter((name) => name !== "seed");
  const used = telling.length ? telling : names;
  const words = (spec) => used.filter((name) => name in spec).map((name) => `${name.replaceAll("_", " ")} ${value(spec[name])}`);
  return specs.map((spec, i) => words(spec).join(", ") || `run ${i + 1}`);
}

function table(shown, labels) {
  const head = ["Experiment", "status", ...ARMS.map((name) => `${ARM_WORDS[name]}: validation accuracy`), ""];
  return make("table", {},
    make("thead", {}, make("tr", {}, ...head.map((words) => (words ? make("th", { scope: "col" }, words) : make("td"))))),
    make("tbody", {}, ...shown.map(({ experiment }, i) => make("tr", {},
      make("th", { scope: "row" }, swatch(i, shown.length), labels[i]),
      make("td", {}, experiment.status),
      ...ARMS.map((name) => make("td", {}, mean(experiment.arms[name].final_validation_accuracy), make("span", { class: "range" }, range(experiment.arms[name].final_validation_accuracy)))),
      make("td", {}, make("button", { type: "button", "aria-label": `Watch ${labels[i]}`, on: { click: () => watch(experiment.id) } }, "Watch"))))));
}
