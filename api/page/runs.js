// The lists of experiments and sweeps, the newest first: choose one to watch, tick some to compare; they keep themselves new.

import { askJson, poll } from "./api.js";
import { fill, find, make } from "./dom.js";
import { MOST_COMPARED, change, onChange, state } from "./state.js";
import { FINISHED, finals, setting } from "./words.js";

const INTERVAL_MS = 2500;
const LIMIT = 20;

// A list by pages: the first one is asked for again and again, further ones once.
function pages(what, path) {
  let older = [];
  let next = null;
  let read = false;
  return {
    async first(signal) {
      const page = await askJson(path(""), { signal });
      if (!older.length) next = page.next_cursor;
      read = true;
      const known = new Set(page[what].map((one) => one.id));
      return [...page[what], ...older.filter((one) => !known.has(one.id))];
    },
    async more() {
      if (!next) return;
      const page = await askJson(path(`&cursor=${encodeURIComponent(next)}`));
      older = [...older, ...page[what]];
      next = page.next_cursor;
    },
    hasMore: () => Boolean(next),
    isEmpty: (shown) => read && !shown.length,
    forget: () => ([older, next, read] = [[], null, false]),
  };
}

const experiments = pages("experiments", (cursor) => `/experiments?limit=${LIMIT}${state.status ? `&status=${state.status}` : ""}${cursor}`);
const sweeps = pages("sweeps", (cursor) => `/sweeps?limit=5${cursor}`);
let shown = [];
let shownSweeps = [];

export function start() {
  document.addEventListener("key-changed", () => {
    experiments.forget();
    sweeps.forget();
  });
  const looking = poll(INTERVAL_MS, async (signal) => {
    const found = await Promise.all([experiments.first(signal), sweeps.first(signal)]);
    [shown, shownSweeps] = found;
    show();
  });
  find("runs-status").addEventListener("change", (event) => change({ status: event.target.value }));
  find("runs-more").addEventListener("click", async () => (await experiments.more(), looking.now()));
  find("sweeps-more").addEventListener("click", async () => (await sweeps.more(), looking.now()));
  onChange((changes) => {
    if ("status" in changes) {
      experiments.forget();
      find("runs-status").value = state.status;
      looking.now();
    }
    show();
  });
  find("runs-status").value = state.status;
  looking.now();
  return looking.now;
}

export const known = (id) => shown.find((one) => one.id === id);

function show() {
  keepFocus(find("runs-list"), shown.map(run));
  keepFocus(find("sweeps-list"), shownSweeps.map(sweep));
  find("runs-more").hidden = !experiments.hasMore();
  find("sweeps-more").hidden = !sweeps.hasMore();
  find("runs-empty").hidden = !experiments.isEmpty(shown);
  find("sweeps-empty").hidden = !sweeps.isEmpty(shownSweeps);
}

// Lists are made anew; who is on a control in one stays on it.
function keepFocus(list, items) {
  const text = items.map((item) => item.outerHTML).join();
  if (list.dataset.shows === String(hash(text))) return;
  list.dataset.shows = hash(text);
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.name : null;
  fill(list, ...items);
  if (focused) list.querySelector(`[data-name="${CSS.escape(focused)}"]`)?.focus();
}

const hash = (text) => [...text].reduce((sum, letter) => (31 * sum + letter.codePointAt(0)) | 0, 7);

function run(experiment) {
  const { id, status } = experiment;
  const compared = state.compare.includes(id);
  const words = setting(experiment.spec);
  const running = !FINISHED.has(status);
  const tick = make("input", { type: "checkbox", "aria-label": `Compare ${words}`, "data-name": `tick-${id}`, ...(compared && { checked: true }),
    disabled: !compared && state.compare.length >= MOST_COMPARED, on: { change: (event) => compare(id, event.target.checked) } });
  return make("li", { "aria-current": state.experiment === id ? "true" : null },
    tick,
    make("button", { type: "button", "data-name": `run-${id}`, "data-id": id, on: { click: () => change({ experiment: id }, { step: true }) } }, words),
    chip(status),
    make("span", { class: "figures" }, running && status === "running" ? `${(100 * experiment.progress.fraction).toFixed(0)} % of both networks` : figures(experiment)));
}

const figures = (experiment) => [experiment.preset?.name, finals(experiment), when(experiment.created_at)].filter(Boolean).join(" · ");
const when = (moment) => new Date(moment).toLocaleString(undefined, { dateStyle: "short", timeStyle: "short" });
const chip = (status) => make("span", { class: "chip", "data-status": status }, status);

function compare(id, on) {
  const others = state.compare.filter((one) => one !== id);
  change({ compare: on ? [...others, id] : others });
}

function sweep(one) {
  const axes = Object.entries(one.grid).map(([name, values]) => `${name} ×${values.length}`);
  if (one.presets) axes.unshift(typeof one.presets === "string" ? `presets: ${one.presets}` : `${one.presets.length} presets`);
  const total = Object.values(one.counts).reduce((sum, count) => sum + count, 0);
  return make("li", { "aria-current": state.sweep === one.id ? "true" : null },
    make("span"),
    make("button", { type: "button", "data-name": `sweep-${one.id}`, "data-id": one.id, on: { click: () => change({ sweep: one.id, first: "0" }, { step: true }) } },
      axes.join(", ") || "a sweep"),
    chip(one.status),
    make("span", { class: "figures" }, `${total} experiments, ${one.counts.succeeded ?? 0} succeeded · ${when(one.created_at)}`));
}
