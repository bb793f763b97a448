// A sweep as small multiples: a little chart for each experiment, drawn anew while it trains.

import { askJson, ask, poll } from "./api.js";
import { draw } from "./chart.js";
import { fill, find, make, notice, write } from "./dom.js";
import { saveSweepTable } from "./download.js";
import { change, onChange, state } from "./state.js";
import { watch } from "./watch.js";
import { FINISHED, count, finals, percent, value } from "./words.js";

const INTERVAL_MS = 2500;
const ON_A_PAGE = 24;
const VIEW = { x: "batches", scale: "linear" };

const curves = new Map(); // by the experiment's id: {arms, whole, fresh}, as asked for last; fresh: not yet drawn
const panels = new Map(); // by the experiment's id: its element
let shown = null;

export function start() {
  document.addEventListener("key-changed", forget);
  const looking = poll(INTERVAL_MS, look);
  onChange((changes) => {
    if (shown && state.sweep !== shown.id) forget();
    if ("sweep" in changes || "first" in changes) looking.now();
  });
  find("sweep-close").addEventListener("click", () => change({ sweep: "", first: "0" }));
  find("sweep-cancel").addEventListener("click", () => told(() => ask(`/sweeps/${state.sweep}/cancel`, { method: "POST" })).then(looking.now));
  find("sweep-csv").addEventListener("click", () => told(() => saveSweepTable(state.sweep)));
  document.addEventListener("theme", () => {
    for (const curve of curves.values()) curve.fresh = true;
    if (shown) show();
  });
  looking.now();
}

async function told(action) {
  try {
    await action();
  } catch (error) {
    notice(error.message);
  }
}

async function look(signal) {
  if (!state.sweep) return;
  if (shown?.id === state.sweep && FINISHED.has(shown.status) && visible().every((row) => curves.get(row.experiment.id)?.whole)) return show();
  try {
    shown = await askJson(`/sweeps/${encodeURIComponent(state.sweep)}?format=json`, { signal });
  } catch (error) {
    if (error.status === 404 || error.status === 422) {
      notice(`There is no such sweep: ${state.sweep}.`);
      change({ sweep: "" });
      return;
    }
    throw error;
  }
  const wanted = visible().filter(({ experiment }) => experiment.status !== "queued" && !curves.get(experiment.id)?.whole);
  await Promise.all(wanted.map(async ({ experiment }) => {
    const curve = await askJson(`/experiments/${experiment.id}/curve?format=json`, { signal });
    curves.set(experiment.id, { arms: curve.arms, whole: FINISHED.has(experiment.status), fresh: true });
  }));
  await show();
}

const first = () => Math.max(0, Math.min(Number(state.first) || 0, (shown?.experiments.length ?? 1) - 1));
const visible = () => shown.experiments.slice(first(), first() + ON_A_PAGE);

function forget() {
  for (const panel of panels.values()) if (panel.querySelector(".chart").data) window.Plotly.purge(panel.querySelector(".chart"));
  shown = null;
  panels.clear();
  curves.clear();
  fill(find("sweep-panels"));
  find("sweep").hidden = true;
}

async function show() {
  find("sweep").hidden = false;
  write(find("sweep-status"), shown.status);
  find("sweep-status").dataset.status = shown.status;
  find("sweep-cancel").hidden = FINISHED.has(shown.status);
  const counts = Object.entries(shown.counts).filter(([, number]) => number).map(([status, number]) => `${number} ${status}`);
  write(find("sweep-progress"), `${counts.join(", ")}; ${count(shown.progress.batches_done)} of ${count(shown.progress.batches_total)} batches, ${percent(shown.progress.fraction)}.`);
  const rows = visible();
  const elements = rows.map((row) => panel(row));
  const box = find("sweep-panels");
  if (elements.length !== box.childElementCount || elements.some((element, i) => element !== box.children[i])) fill(box, ...elements);
  turn();
  for (const [i, { experiment }] of rows.entries()) {
    const curve = curves.get(experiment.id);
    if (!curve || !(curve.fresh || !elements[i].querySelector(".chart").data)) continue;
    curve.fresh = false;
    await draw(elements[i].querySelector(".chart"), [{ experiment, curve: curve.arms, label: "" }], VIEW, { small: true });
  }
}

function panel({ experiment, values, difference_from_published: difference }) {
  let element = panels.get(experiment.id);
  const words = Object.entries(values).map(([name, any]) => (name === "preset" ? any : `${name} ${value(any)}`)).join(", ") || "the base";
  if (!element) {
    element = make("figure", { class: "panel" },
      make("figcaption", {}, make("button", { type: "button", on: { click: () => watch(experiment.id) } }, words)),
      make("div", { class: "chart", role: "img", "aria-label": `Validation accuracy of both networks: ${words}` }),
      make("p"));
    panels.set(experiment.id, element);
  }
  const off = difference?.with_batch_norm ? `; from the lesson's ${difference.with_batch_norm.validation_accuracy.toFixed(4)}` : "";
  element.querySelector("p").textContent = experiment.status === "succeeded" ? `${finals(experiment)}${off}` : experiment.status;
  return element;
}

function turn() {
  const total = shown.experiments.length;
  const page = (words, to) => make("button", { type: "button", disabled: to < 0 || to >= total, on: { click: () => change({ first: String(to) }) } }, words);
  if (total <= ON_A_PAGE) return fill(find("sweep-pages"));
  fill(find("sweep-pages"), page("Earlier", first() - ON_A_PAGE), page("Later", first() + ON_A_PAGE),
    make("span", { class: "quiet" }, `${first() + 1} to ${Math.min(first() + ON_A_PAGE, total)} of ${total}`));
}
