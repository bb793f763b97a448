// The lists of experiments and sweeps, the newest first: choose one to watch, tick some to compare; they keep themselves new.

import { askJson, poll } from "./api.js";
import { find, make } from "./dom.js";
import { MOST_COMPARED, change, onChange, state } from "./state.js";
import { FINISHED, finals, setting } from "./words.js";

const INTERVAL_MS = 2500;
const LIMIT = 100; // of one answer

// A list, the newest first: so many as are wanted, all of them new at each look.
function list(what, path, step) {
  let wanted = step;
  let next = null;
  return {
    async read(signal) {
      let found = [];
      let cursor = "";
      do {
        const page = await askJson(`${path()}&limit=${Math.min(wanted - found.length, LIMIT)}${cursor}`, { signal });
        found = [...found, ...page[what]];
        next = page.next_cursor;
        cursor = next ? `&cursor=${encodeURIComponent(next)}` : "";
      } while (next && found.length < wanted);
      return found;
    },
    more: () => (wanted += step),
    hasMore: () => Boolean(next),
    forget: () => ([wanted, next] = [step, null]),
  };
}

const experiments = list("experiments", () => `/experiments?${state.status ? `status=${state.status}` : ""}`, 20);
const sweeps = list("sweeps", () => "/sweeps?", 5);
let read = false;
let shown = [];
let shownSweeps = [];

export function start() {
  document.addEventListener("key-changed", forget);
  const looking = poll(INTERVAL_MS, async (signal) => {
    [shown, shownSweeps] = await Promise.all([experiments.read(signal), sweeps.read(signal)]);
    read = true;
    show();
  });
  find("runs-status").addEventListener("change", (event) => change({ status: event.target.value }));
  find("runs-more").addEventListener("click", () => (experiments.more(), looking.now()));
  find("sweeps-more").addEventListener("click", () => (sweeps.more(), looking.now()));
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

// What another key has shown is not for everybody.
function forget() {
  experiments.forget();
  sweeps.forget();
  [shown, shownSweeps, read] = [[], [], false];
  show();
}

function show() {
  renew(find("runs-list"), shown.map(run));
  renew(find("sweeps-list"), shownSweeps.map(sweep));
  find("runs-more").hidden = !experiments.hasMore();
  find("sweeps-more").hidden = !sweeps.hasMore();
  find("runs-empty").hidden = !read || shown.length > 0;
  find("sweeps-empty").hidden = !read || shownSweeps.length > 0;
}

// Puts new items in the place of those that have changed, and leaves the others as they are: with their focus, and with
// a click that has begun on them.
function renew(list, items) {
  const before = new Map([...list.children].map((item) => [item.dataset.id, item]));
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.name : null;
  const kept = items.map((item) => {
    const old = before.get(item.dataset.id);
    item.dataset.shows = item.outerHTML;
    return old?.dataset.shows === item.dataset.shows ? old : item;
  });
  if (kept.length === list.childElementCount && kept.every((item, i) => item === list.children[i])) return;
  const place = list.scrollTop;
  list.replaceChildren(...kept);
  list.scrollTop = place;
  if (focused) list.querySelector(`[data-name="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

function run(experiment) {
  const { id, status } = experiment;
  const compared = state.compare.includes(id);
  const words = setting(experiment.spec);
  const running = !FINISHED.has(status);
  const tick = make("input", { type: "checkbox", "aria-label": `Compare ${words}`, "data-name": `tick-${id}`, ...(compared && { checked: true }),
    disabled: !compared && state.compare.length >= MOST_COMPARED, on: { change: (event) => compare(id, event.target.checked) } });
  return make("li", { "data-id": id, "aria-current": state.experiment === id ? "true" : null },
    tick,
    make("button", { type: "button", "data-name": `run-${id}`, on: { click: () => change({ experiment: id }, { step: true }) } }, words),
    chip(status),
    make("span", { class: "figures" }, running && status === "running" ? `${(100 * experiment.progress.fraction).toFixed(0)} % of both networks` : figures(experiment)));
}

const figures = (experiment) => [experiment.preset?.overridden.length === 0 ? experiment.preset.name : "", finals(experiment), when(experiment.created_at)].filter(Boolean).join(" · ");
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
  return make("li", { "data-id": one.id, "aria-current": state.sweep === one.id ? "true" : null },
    make("span"),
    make("button", { type: "button", "data-name": `sweep-${one.id}`, on: { click: () => change({ sweep: one.id, first: "0" }, { step: true }) } },
      axes.join(", ") || "a sweep"),
    chip(one.status),
    make("span", { class: "figures" }, `${total} experiments, ${one.counts.succeeded ?? 0} succeeded · ${when(one.created_at)}`));
}
