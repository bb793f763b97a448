// The whole state of the page, as the fragment of its address: a link to it shows the same again. No secret is in it.

const LISTS = new Set(["compare"]);
const ALLOWED = {
  x: ["batches", "seconds"],
  scale: ["linear", "log"],
  status: ["", "queued", "running", "succeeded", "failed", "cancelled"],
};
const DEFAULTS = { experiment: "", compare: [], sweep: "", first: "0", x: "batches", scale: "linear", status: "", digit: "" };
export const MOST_COMPARED = 8;
const FORM = "spec.";

export const state = { ...DEFAULTS, form: {} };
const listeners = new Set();

// Reads the address; returns the names of what cannot be read, which is left at its default.
export function readAddress() {
  const wrong = [];
  Object.assign(state, DEFAULTS, { compare: [], form: {} });
  for (const [name, text] of new URLSearchParams(location.hash.slice(1))) {
    if (name.startsWith(FORM)) state.form[name.slice(FORM.length)] = text;
    else if (!(name in DEFAULTS) || (ALLOWED[name] && !ALLOWED[name].includes(text))) wrong.push(name);
    else if (LISTS.has(name)) state[name] = [...new Set(text.split(",").filter(Boolean))].slice(0, MOST_COMPARED);
    else state[name] = text;
  }
  return wrong;
}

function address() {
  const words = new URLSearchParams();
  for (const [name, usual] of Object.entries(DEFAULTS)) {
    const text = LISTS.has(name) ? state[name].join(",") : state[name];
    if (text !== (LISTS.has(name) ? "" : usual)) words.set(name, text);
  }
  for (const [name, text] of Object.entries(state.form)) words.set(FORM + name, text);
  return `#${words}`;
}

// Changes the state; `step` makes the browser's way back lead to what was before.
export function change(changes, { step = false } = {}) {
  const before = address();
  Object.assign(state, changes);
  if (address() !== before) history[step ? "pushState" : "replaceState"](null, "", address() === "#" ? location.pathname : address());
  tell(changes);
}

export function onChange(listener) {
  listeners.add(listener);
}

function tell(changes) {
  for (const listener of listeners) listener(changes);
}

export function followAddress(complain) {
  addEventListener("popstate", () => {
    complain(readAddress());
    tell({ ...state });
  });
}
