// The form: every setting with its meaning and its bounds as the OpenAPI document has them, presets, and what to vary.

import { Problem, askJson } from "./api.js";
import { announce, fill, find, make, notice, write } from "./dom.js";
import { NUMBERS, axes, chosenKind, controls, idOf, isAxis, ofAxis, ofPresets, ofSchema, text, titled } from "./fields.js";
import { differs, isForeign, learn, usualFor } from "./kinds.js";
import { change, state } from "./state.js";
import { baseWithout, grid, spec } from "./typed.js";
import { flat, value as inWords } from "./words.js";

const FIRST = ["network", "activation", "learning_rate", "weight_scale", "training_batches", "replicates"];
const FIRST_PRESET = "relu-0.01-good-weights-2000"; // seconds long, and what the lesson is about
const POINTS = "batches_per_sample";
const FOLLOWS = { [POINTS]: ["training_batches"], strides: ["feature_maps", "kernel_size"] }; // what is usual depends on others
const decides = (name) => name === "preset" || name === "network" || isAxis(name); // what is usual for the rest

let presets = [];
let standing = ""; // the kind of network whose usual values stand in the form; "": each has its own, for networks vary

export async function build(submitted) {
  const [document_, named] = await Promise.all([askJson("/openapi.json"), askJson("/presets")]);
  presets = named.presets;
  const body = document_.paths["/experiments"].post.requestBody.content["application/json"].schema;
  learn(body.properties.network);
  const fields = Object.entries(body.properties).filter(([name]) => name !== "preset");
  const nested = ([, schema]) => schema.properties !== undefined;
  const first = fields.filter(([name]) => FIRST.includes(name)).sort(([a], [b]) => FIRST.indexOf(a) - FIRST.indexOf(b));
  const rest = fields.filter((field) => !FIRST.includes(field[0]) && !nested(field));
  const parts = (schemas) => schemas.map(([name, schema]) => ofSchema(name, schema));
  const details = (id, title, ...children) => make("details", { id }, make("summary", {}, title), make("div", { class: "fields" }, ...children));
  fill(
    find("spec"),
    ofPresets(presets, take),
    make("div", { class: "pairs" }, ...parts(first)),
    make("p", { id: "spec-error", class: "error", role: "alert", hidden: true }),
    make("button", { type: "submit", class: "main", id: "submit" }, "Train both networks"),
    details("more", "Every other setting", ...parts(rest)),
    ...fields.filter(nested).map(([name, schema]) =>
      details(`more-${name}`, titled(name), make("p", { class: "quiet" }, schema.description || ""),
        ...parts(Object.entries(schema.properties).map(([part, inner]) => [`${name}.${part}`, inner])))),
    details("vary", "Vary: many experiments at once",
      make("p", { class: "quiet" }, "Every combination of these values becomes an experiment of one sweep."),
      ...NUMBERS.map(ofAxis)),
  );
  find("spec").addEventListener("submit", (event) => submit(event, submitted));
  find("spec").addEventListener("change", changed);
  document.addEventListener("connected", () => write(find("spec-error"), ""));
  document.addEventListener("use-settings", (event) => use(event.detail));
  restore();
}

// ----------------------------------------------------------------------------------------- what stands in them

function put(name, any) {
  const control = controls.get(name);
  if (!control) return;
  if (control.type === "checkbox") control.checked = any === "true";
  else if (control.value !== any) control.value = any;
}

const shown = (control) => (control.type === "checkbox" ? String(control.checked) : control.value);

// Every field, as text: as the preset has it, the rest with what is usual for this kind of network; where networks vary,
// what kinds differ in is left open.
function usual(name, network) {
  const preset = presets.find((one) => one.name === name);
  const open = (each) => network === "" && differs(each);
  const values = new Map([...controls].map(([each, { dataset }]) => [each, open(each) ? "" : usualOf(each, network, dataset.usual ?? "")]));
  values.set("preset", preset ? name : "");
  for (const [each, any] of flat(preset?.spec ?? {})) values.set(each, text(any));
  return values;
}

const usualOf = (name, network, byDefault) => (name === POINTS ? byDefault : text(usualFor(name, network, byDefault)));

// Chooses a preset, and fills every field as it has it; without one, what stands there stays.
function take(name) {
  const preset = presets.find((one) => one.name === name);
  if (preset) for (const [each, any] of usual(name, preset.spec.network)) put(each, any);
  write(find(`${idOf("preset")}-help`), help(name));
  arrange();
}

const help = (name) => presets.find((one) => one.name === name)?.shows ?? "A named setting of the lesson, or your own.";

// Fills the form from a spec, as a watched experiment has it; its seed stays open.
function use(spec) {
  for (const [each, any] of usual("", spec.network)) put(each, any);
  for (const [name, any] of flat(spec)) if (name !== "seed" && any !== null) put(name, text(any));
  remember();
  find("train").scrollIntoView({ block: "nearest" });
  announce("The form has the settings of this experiment.");
}

// Shows the fields that this kind of network has; where networks vary, those that all have.
function arrange() {
  standing = chosenKind();
  for (const [name, control] of controls) control.closest(".field").hidden = isForeign(name, standing);
  for (const select of axes()) {
    for (const option of select.options) option.hidden = option.disabled = isForeign(option.value, standing);
    if (isForeign(select.value, standing)) select.value = "";
  }
}

// Another kind of network: what was left as it was usual becomes what is usual for this one, and no preset is meant.
function turn() {
  const before = usual(controls.get("preset").value, standing);
  for (const [name, any] of usual("", chosenKind()))
    if (!decides(name) && shown(controls.get(name)) === before.get(name)) put(name, any);
  put("preset", "");
  take("");
}

function changed(event) {
  if (chosenKind() !== standing) turn();
  const usually = usual(controls.get("preset").value, standing);
  for (const [name, leaders] of Object.entries(FOLLOWS)) {
    const asUsual = shown(controls.get(name)) === usually.get(name);
    if (asUsual && leaders.some((leader) => event.target === controls.get(leader))) put(name, ""); // as is usual beside it
  }
  remember();
}

// Keeps in the address what differs from the preset.
function remember() {
  arrange();
  const preset = controls.get("preset").value;
  const usually = usual(preset, standing);
  const form = preset === FIRST_PRESET ? {} : { preset };
  for (const [name, control] of controls)
    if (shown(control) !== usually.get(name) && !isForeign(name, standing)) form[name] = shown(control);
  change({ form });
  label();
}

// Says on the button what it will do.
function label() {
  const varied = Object.values(grid());
  const many = varied.reduce((product, values) => product * values.length, 1);
  find("submit").textContent = varied.length ? `Train ${many} experiments, both networks each` : "Train both networks";
}

// Fills the form, once it is there, as the address has it, and says what cannot be.
export function restore() {
  if (!controls.size) return;
  const name = state.form.preset ?? FIRST_PRESET;
  const wrong = new Set(Object.keys(state.form).filter((each) => !controls.has(each)));
  const set = (each, usually) => {
    const control = controls.get(each);
    const any = state.form[each] ?? usually;
    put(each, any);
    if (control.type === "checkbox" || control.value === any) return;
    wrong.add(each);
    put(each, usually);
  };
  const setAll = (values, which) => [...values].filter(([each]) => which(each)).forEach(([each, any]) => set(each, any));
  setAll(usual(name, ""), decides);
  setAll(usual(name, chosenKind()), (each) => !decides(each));
  write(find(`${idOf("preset")}-help`), help(name));
  arrange();
  if ([...controls.keys()].some((each) => isAxis(each) && state.form[each])) find("vary").open = true;
  label();
  const unknown = Object.keys(state.form).filter((each) => wrong.has(each));
  if (unknown.length) notice(`This link has settings that are not known here: ${unknown.join(", ")}.`);
}

// --------------------------------------------------------------------------------------------------- submit

let attempt = null; // the same request, sent again after a lost answer, carries the same key and makes nothing twice

async function submit(event, submitted) {
  event.preventDefault();
  clearErrors();
  const twice = controls.get("axis.0").value;
  if (twice && twice === controls.get("axis.1").value) return blame(controls.get("axis.1"), `Allowed: another field than the first. Received: ${titled(twice)}.`);
  const varied = grid();
  const many = Object.keys(varied).length > 0;
  const body = many ? { base: baseWithout(spec(), varied), grid: varied } : spec();
  const text = JSON.stringify([many, body]);
  if (attempt?.text !== text) attempt = { text, key: randomKey() };
  const button = find("submit");
  button.disabled = true;
  try {
    const made = await askJson(many ? "/sweeps" : "/experiments", { method: "POST", body, more: { "Idempotency-Key": attempt.key } });
    attempt = null;
    announce(many ? `A sweep of ${made.experiments.length} experiments is accepted.` : "The experiment is accepted.");
    submitted(made, many);
  } catch (error) {
    if (error instanceof Problem && error.status < 500) attempt = null;
    show(error);
  } finally {
    button.disabled = false;
  }
}

// crypto.randomUUID is there on secure addresses only.
const randomKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

function clearErrors() {
  write(find("spec-error"), "");
  for (const [name, control] of controls) {
    control.removeAttribute("aria-invalid");
    write(find(`${idOf(name)}-error`), "");
  }
}

// Puts each error beside the field it names; what names none stands above the button.
function show(error) {
  const loose = [];
  let first = null;
  for (const { field, allowed, received } of error.errors || []) {
    const control = controlOf(field);
    const words = `Allowed: ${allowed}.${received === null ? "" : ` Received: ${inWords(received) || "nothing"}.`}`;
    if (!control) {
      loose.push(`${field}: ${words}`);
      continue;
    }
    blame(control, words);
    first ??= control;
  }
  first?.focus();
  if (loose.length || !first) write(find("spec-error"), [loose.length ? "" : error.message, ...loose].join(" ").trim());
}

// Puts an error beside a control, which is opened to the eye.
function blame(control, words) {
  control.setAttribute("aria-invalid", "true");
  write(find(`${control.id}-error`), words);
  for (let outer = control.closest("details"); outer; outer = outer.parentElement.closest("details")) outer.open = true;
  control.focus();
}

// The control of a field such as `hidden_layers.0`, `base.seed` or `grid.learning_rate.1`.
function controlOf(field) {
  if (field === "grid") return controls.get("values.0");
  let path = field.replace(/^base\./, "");
  if (path.startsWith("grid.")) {
    path = path.slice(5);
    const number = NUMBERS.find((each) => path.startsWith(controls.get(`axis.${each}`).value || " "));
    return controls.get(`values.${number ?? 0}`);
  }
  for (let name = path; name; name = name.includes(".") ? name.slice(0, name.lastIndexOf(".")) : "") {
    if (controls.has(name)) return controls.get(name);
  }
  return null;
}
