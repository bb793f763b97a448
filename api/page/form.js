// The form: every setting with its meaning and its bounds as the OpenAPI document has them, presets, and what to vary.

import { Problem, askJson } from "./api.js";
import { announce, fill, find, make, notice, write } from "./dom.js";
import { controls, idOf, ofAxis, ofPresets, ofSchema, text, titled } from "./fields.js";
import { change, state } from "./state.js";
import { value as inWords } from "./words.js";

const FIRST = ["activation", "learning_rate", "weight_scale", "training_batches", "replicates"];
const FIRST_PRESET = "relu-0.01-good-weights-2000"; // seconds long, and what the lesson is about
const AXES = 2;

let presets = [];

export async function build(submitted) {
  const [document_, named] = await Promise.all([askJson("/openapi.json"), askJson("/presets")]);
  presets = named.presets;
  const body = document_.paths["/experiments"].post.requestBody.content["application/json"].schema;
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
      ...Array.from({ length: AXES }, (_, number) => ofAxis(number))),
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

// Every field, as text: as the preset has it, the rest with its usual value.
function usual(name) {
  const preset = presets.find((one) => one.name === name);
  const values = new Map([...controls].map(([each, control]) => [each, control.dataset.usual ?? ""]));
  values.set("preset", preset ? name : "");
  for (const [each, any] of Object.entries(preset ? preset.spec : {})) {
    if (typeof any === "object" && !Array.isArray(any)) for (const [part, inner] of Object.entries(any)) values.set(`${each}.${part}`, text(inner));
    else values.set(each, text(any));
  }
  return values;
}

// Chooses a preset, and fills every field as it has it; without one, what stands there stays.
function take(name) {
  const preset = presets.find((one) => one.name === name);
  if (preset) for (const [each, any] of usual(name)) put(each, any);
  write(find(`${idOf("preset")}-help`), preset ? preset.shows : "A named setting of the lesson, or your own.");
}

// Fills the form from a spec, as a watched experiment has it; its seed stays open.
function use(spec) {
  for (const [each, any] of usual("")) put(each, any);
  for (const [name, any] of Object.entries(spec)) {
    if (name === "seed" || any === null) continue;
    if (typeof any === "object" && !Array.isArray(any)) for (const [part, inner] of Object.entries(any)) put(`${name}.${part}`, text(inner));
    else put(name, text(any));
  }
  remember();
  find("train").scrollIntoView({ block: "nearest" });
  announce("The form has the settings of this experiment.");
}

function changed(event) {
  const points = controls.get("batches_per_sample");
  const asPreset = points.value === usual(controls.get("preset").value).get("batches_per_sample");
  if (event.target === controls.get("training_batches") && asPreset) points.value = ""; // as many points as is usual
  remember();
}

// Keeps in the address what differs from the preset.
function remember() {
  const preset = controls.get("preset").value;
  const usually = usual(preset);
  const form = preset === FIRST_PRESET ? {} : { preset };
  for (const [name, control] of controls) if (shown(control) !== usually.get(name)) form[name] = shown(control);
  change({ form });
  label();
}

// Says on the button what it will do.
function label() {
  const axes = Object.values(grid());
  const many = axes.reduce((product, values) => product * values.length, 1);
  find("submit").textContent = axes.length ? `Train ${many} experiments, both networks each` : "Train both networks";
}

const axisNames = () => [...controls.keys()].filter((name) => /^(axis|values)\./.test(name));

// Fills the form, once it is there, as the address has it, and says what cannot be.
export function restore() {
  if (!controls.size) return;
  const name = state.form.preset ?? FIRST_PRESET;
  for (const [each, any] of usual(name)) put(each, any);
  take(name);
  const wrong = [];
  for (const [each, any] of Object.entries(state.form)) {
    put(each, any);
    const control = controls.get(each);
    if (control && (control.type === "checkbox" || control.value === any)) continue;
    wrong.push(each);
    if (control) put(each, usual(name).get(each));
  }
  if (axisNames().some((each) => state.form[each])) find("vary").open = true;
  label();
  if (wrong.length) notice(`This link has settings that are not known here: ${wrong.join(", ")}.`);
}

// What is typed as JSON has it; what is no number is sent as it is, for the service to say what is wrong.
function sent(control) {
  if (control.type === "checkbox") return control.checked;
  const typed = control.value.trim();
  if (typed === "") return undefined;
  if (control.tagName === "SELECT") return typed;
  if (control.dataset.kind === "array") return listed(typed.replace(/^\[|\]$/g, ""));
  return number(typed);
}

const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

// A number if it is one, and is not another one for being so small or so large.
function number(typed) {
  const any = Number(typed);
  const vanishes = any === 0 && /[1-9]/.test(typed.split(/e/i)[0]);
  return DECIMAL.test(typed) && Number.isFinite(any) && !vanishes ? any : typed;
}

function listed(typed) {
  try {
    return JSON.parse(`[${typed}]`);
  } catch {
    return typed.split(",").map((part) => number(part.trim()));
  }
}

function spec() {
  const body = {};
  for (const [name, control] of controls) {
    const any = axisNames().includes(name) ? undefined : sent(control);
    if (any === undefined) continue;
    const [outer, inner] = name.split(".");
    if (inner) body[outer] = { ...body[outer], [inner]: any };
    else body[name] = any;
  }
  return body;
}

function grid() {
  const axes = {};
  for (let number = 0; number < AXES; number += 1) {
    const name = controls.get(`axis.${number}`).value;
    if (name) axes[name] = listed(controls.get(`values.${number}`).value);
  }
  return axes;
}

// What varies does not stand in the base too.
function baseWithout(body, axes) {
  const base = structuredClone(body);
  for (const name of Object.keys(axes)) {
    const [outer, inner] = name.split(".");
    if (inner) delete base[outer]?.[inner];
    else delete base[outer];
  }
  return base;
}

// --------------------------------------------------------------------------------------------------- submit

let attempt = null; // the same request, sent again after a lost answer, carries the same key and makes nothing twice

async function submit(event, submitted) {
  event.preventDefault();
  clearErrors();
  const twice = controls.get("axis.0").value;
  if (twice && twice === controls.get("axis.1").value) return blame(controls.get("axis.1"), `Allowed: another field than the first. Received: ${titled(twice)}.`);
  const axes = grid();
  const many = Object.keys(axes).length > 0;
  const body = many ? { base: baseWithout(spec(), axes), grid: axes } : spec();
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
    const number = Array.from({ length: AXES }, (_, each) => each).find((each) => path.startsWith(controls.get(`axis.${each}`).value || " "));
    return controls.get(`values.${number ?? 0}`);
  }
  for (let name = path; name; name = name.includes(".") ? name.slice(0, name.lastIndexOf(".")) : "") {
    if (controls.has(name)) return controls.get(name);
  }
  return null;
}
