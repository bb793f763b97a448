// The whole state of the page, as the fragment of its address: a link to it shows the same again. No secret is in it.

const UUID = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/i;
const one = (...choices) => (text) => choices.includes(text);
const id = (text) => text === "" || UUID.test(text);

export const MOST_COMPARED = 8;
const FORM = "spec.";
const DEFAULTS = { experiment: "", compare: [], sweep: "", first: "0", x: "batches", scale: "linear", status: "", digit: "" };
const RIGHT = {
  experiment: id,
  sweep: id,
  first: (text) => /^\d{1,6}$/.test(text),
  x: one("batches", "seconds"),
  scale: one("linear", "log"),
  status: one("", "queued", "running", "succeeded", "failed", "cancelled"),
  digit: (text) => text.length < 20_000,
};

export const state = { ...DEFAULTS, form: {} };
const listeners = new Set();

// Reads the address; returns the names of what cannot be read, which is left at its default.
export function readAddress() {
  const wrong = [];
  Object.assign(state, DEFAULTS, { compare: [], form: {} });
  for (const [name, text] of new URLSearchParams(location.hash.slice(1))) {
    if (name.startsWith(FORM)) state.form[name.slice(FORM.length)] = text;
    else if (name === "compare") wrong.push(...readCompared(text));
    else if (Object.hasOwn(RIGHT, name) && RIGHT[name](text)) state[name] = text;
    else wrong.push(name);
  }
  return wrong;
}

function readCompared(text) {
  const named = [...new Set(text.split(",").filter(Boolean))];
  const ids = named.filter((each) => UUID.test(each));
  state.compare = ids.slice(0, MOST_COMPARED);
  return [...(ids.length < named.length ? ["compare"] : []), ...(ids.length > MOST_COMPARED ? [`compare beyond ${MOST_COMPARED}`] : [])];
}

function address() {
  const words = new URLSearchParams();
  for (const [name, usual] of Object.entries(DEFAULTS)) {
    const text = String(state[name]);
    if (text !== String(usual)) words.set(name, text);
  }
  for (const [name, text] of Object.entries(state.form)) words.set(FORM + name, text);
  return words.size ? `#${words}` : location.pathname;
}

// Changes the state; `step` makes the browser's way back lead to what was before.
export function change(changes, { step = false } = {}) {
  const before = address();
  Object.assign(state, changes);
  if (address() !== before) history[step ? "pushState" : "replaceState"](null, "", address());
  for (const listener of listeners) listener(changes);
}

export function onChange(listener) {
  listeners.add(listener);
}

export function followAddress(complain) {
  addEventListener("popstate", () => {
    complain(readAddress());
    for (const listener of listeners) listener({ ...state });
  });
}
