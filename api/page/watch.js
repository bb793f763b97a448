// The experiment in focus: how far it is, both curves as they grow, and what came out.

import { Lost, Problem, ask } from "./api.js";
import { draw } from "./chart.js";
import { add, empty } from "./curves.js";
import { announce, fill, find, make, write } from "./dom.js";
import { offer } from "./download.js";
import { results } from "./results.js";
import { change, onChange, state } from "./state.js";
import { follow } from "./stream.js";
import { ARMS, ARM_WORDS, FINISHED, accuracy, count, setting } from "./words.js";

let shown = null; // {experiment, curve}
let following = new AbortController();
let drawing = false;
const listeners = new Set(); // who wants to know which experiment is watched, and how it is

export const onNews = (listener) => listeners.add(listener);

// Brings an experiment into focus, and the eye to it.
export function watch(id) {
  change({ experiment: id }, { step: true });
  find("watch").focus();
}

export function start() {
  onChange((changes) => {
    if ("experiment" in changes) focus(state.experiment);
    if ("x" in changes || "scale" in changes) view();
  });
  find("view-x").addEventListener("change", (event) => change({ x: event.target.value }));
  find("view-scale").addEventListener("change", (event) => change({ scale: event.target.value }));
  find("cancel").addEventListener("click", cancel);
  find("points").addEventListener("toggle", table);
  offer(find("watch-downloads"), find("chart"), () => [shown.experiment.id], attempt);
  document.addEventListener("theme", redraw);
  document.addEventListener("key-changed", () => {
    shown = null;
    focus(state.experiment);
  });
  find("use-settings").addEventListener("click", () => document.dispatchEvent(new CustomEvent("use-settings", { detail: shown.experiment.spec })));
  view();
  focus(state.experiment);
}

function view() {
  find("view-x").value = state.x;
  find("view-scale").value = state.scale;
  redraw();
}

async function focus(id) {
  following.abort();
  following = new AbortController();
  const { signal } = following;
  if (shown && shown.experiment.id !== id) shown = null;
  if (!shown) {
    tell();
    show();
  }
  if (!id) return;
  const curve = empty();
  try {
    await follow(id, (event, data) => {
      if (signal.aborted) return;
      if (event === "experiment") took(data, curve);
      if (event === "points") add(curve, data);
      if (event === "progress") progressed(data);
      show();
    }, signal);
  } catch (error) {
    if (signal.aborted) return;
    shown = null;
    tell();
    show();
    write(find("watch-setting"), "");
    if (error.status !== 401) write(find("watch-note"), error instanceof Problem ? `${error.message} (${id})` : String(error));
  }
}

function tell() {
  for (const listener of listeners) listener(shown?.experiment ?? null);
}

function took(experiment, curve) {
  const before = shown?.experiment.status;
  shown = { experiment, curve };
  tell();
  if (before && before !== experiment.status) announce(`The experiment is ${experiment.status}.`);
}

function progressed(data) {
  const { experiment } = shown;
  experiment.progress = data.progress;
  for (const name of ARMS) Object.assign(experiment.arms[name], data.arms[name]);
}

async function cancel() {
  await attempt(() => ask(`/experiments/${shown.experiment.id}/cancel`, { method: "POST" }));
}

// Runs what a button asks for; what goes wrong stands below the title.
async function attempt(action) {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof Lost)) write(find("watch-note"), error.message);
  }
}

// ----------------------------------------------------------------------------------------------------- show

function show() {
  const experiment = shown?.experiment;
  const status = find("watch-status");
  write(status, experiment?.status ?? "");
  status.dataset.status = experiment?.status ?? "";
  find("cancel").hidden = !experiment || FINISHED.has(experiment.status);
  find("use-settings").hidden = !experiment;
  for (const button of find("watch-downloads").children) button.disabled = !shown;
  if (!experiment) {
    write(find("watch-setting"), state.experiment ? "Asking for the experiment …" : "Nothing is chosen yet: press “Train both networks”, or choose a run.");
    for (const id of ["watch-progress", "results"]) fill(find(id));
    write(find("watch-note"), "");
    write(find("chart-caption"), "");
  } else {
    write(find("watch-setting"), `${setting(experiment.spec)} · ${experiment.spec.dataset} · seed ${experiment.spec.seed}`);
    write(find("watch-note"), note(experiment));
    progress(experiment);
    fill(find("results"), ...results(experiment));
    caption(experiment);
  }
  redraw();
  table();
}

function note(experiment) {
  if (experiment.error) return `The arm ${ARM_WORDS[experiment.error.arm]} failed: ${experiment.error.message}`;
  if (experiment.status === "queued" && experiment.waits_for) return `It waits for ${experiment.waits_for}.`;
  return "";
}

function progress(experiment) {
  const total = experiment.spec.training_batches;
  const box = find("watch-progress");
  if (box.childElementCount !== 3 * ARMS.length)
    fill(box, ...ARMS.flatMap((name) => [
      make("span", { id: `progress-${name}` }, ARM_WORDS[name]),
      make("progress", { class: `arm-${name}`, "aria-labelledby": `progress-${name}` }),
      make("span")]));
  ARMS.forEach((name, i) => {
    const arm = experiment.arms[name];
    const [, bar, words] = [...box.children].slice(3 * i);
    bar.max = total;
    bar.value = arm.batches_done;
    const speed = arm.batches_per_second ? `, ${count(Math.round(arm.batches_per_second))} per second` : "";
    words.textContent = `${count(arm.batches_done)} of ${count(total)}${speed}, ${arm.status}`;
  });
}

function caption(experiment) {
  const finals = ARMS.map((name) => experiment.arms[name].final_validation_accuracy);
  const now = ARMS.map((name, i) => {
    const newest = finals[i]?.mean ?? shown.curve[name].mean.at(-1);
    return `${ARM_WORDS[name]} ${newest === undefined ? "no point yet" : accuracy(newest)}`;
  });
  const band = experiment.spec.replicates > 1 ? " The lines are the means, the bands reach from the least to the most replicate." : "";
  write(find("chart-caption"), `${finals.every(Boolean) ? "At the end" : "Newest points"}: ${now.join(", ")}.${band}`);
}

// Draws what is shown, once for all that has come since the last frame.
function redraw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(async () => {
    drawing = false;
    try {
      await drawNow();
    } catch (error) {
      write(find("watch-note"), error.message);
    }
  });
}

async function drawNow() {
  const chart = find("chart");
  if (!shown) {
    if (chart.data) window.Plotly.purge(chart);
    for (const name of ["role", "aria-label", "data-points"]) chart.removeAttribute(name);
    return;
  }
  const points = ARMS.reduce((sum, name) => sum + shown.curve[name].steps.length, 0);
  chart.setAttribute("role", "img");
  chart.setAttribute("aria-label", `Validation accuracy of both networks, ${points} points. ${find("chart-caption").textContent}`);
  await draw(chart, [{ ...shown, label: "" }], state);
  chart.dataset.points = points;
}

function table() {
  if (!find("points").open || !shown) return;
  const { curve } = shown;
  const at = ARMS.map((name) => new Map(curve[name].steps.map((step, i) => [step, curve[name].mean[i]])));
  const steps = [...new Set(ARMS.flatMap((name) => curve[name].steps))].sort((a, b) => a - b);
  const head = make("tr", {}, ...["Batch", ...ARMS.map((name) => ARM_WORDS[name])].map((words) => make("th", { scope: "col", class: "number" }, words)));
  const body = steps.map((step) => make("tr", {}, make("td", { class: "number" }, count(step)),
    ...at.map((known) => make("td", { class: "number" }, accuracy(known.get(step) ?? null)))));
  fill(find("points").querySelector(".scroll"), make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
}
