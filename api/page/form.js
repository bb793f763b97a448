// The form: every setting with its meaning and its bounds as the OpenAPI document has them, presets, and what to vary.

import { Problem, askJson } from "./api.js";
import { announce, fill, find, make, write } from "./dom.js";
import { change, state } from "./state.js";
import { value as inWords } from "./words.js";

const FIRST = ["activation", "learning_rate", "weight_scale", "training_batches", "replicates"];
const FIRST_PRESET = "relu-0.01-good-weights-2000"; // seconds long, and what the lesson is about
const AXES = 2;

const controls = new Map(); // by the field's name, with a dot into an object
let presets = [];

export async function build(submitted) {
  const [document_, named] = await Promise.all([askJson("/openapi.json"), askJson("/presets")]);
  presets = named.presets;
  const body = document_.paths["/experiments"].post.requestBody.content["application/json"].schema;
  const fields = Object.entries(body.properties).filter(([name]) => name !== "preset");
  const nested = ([, schema]) => schema.properties !== undefined;
  const first = fields.filter(([name]) => FIRST.includes(name)).sort(([a], [b]) => FIRST.indexOf(a) - FIRST.indexOf(b));
  const rest = fields.filter((field) => !FIRST.includes(field[0]) && !nested(field));
  fill(
    find("spec"),
    presetField(),
    make("div", { class: "pairs" }, ...first.map(([name, schema]) => fieldOf(name, schema))),
    make("details", { id: "more" }, make("summary", {}, "Every other setting"),
      make("div", { class: "fields" }, ...rest.map(([name, schema]) => fieldOf(name, schema)))),
    ...fields.filter(nested).map(([name, schema]) =>
      make("details", {}, make("summary", {}, titled(name)),
        make("div", { class: "fields" }, make("p", { class: "quiet" }, schema.description || ""),
          ...Object.entries(schema.properties).map(([part, inner]) => fieldOf(`${name}.${part}`, inner))))),
    make("details", { id: "vary" }, make("summary", {}, "Vary: many experiments at once"),
      make("div", { class: "fields" },
        make("p", { class: "quiet" }, "Every combination of these values becomes an experiment of one sweep."),
        ...Array.from({ length: AXES }, (_, number) => axis(number)))),
    make("p", { id: "spec-error", class: "error", role: "alert", hidden: true }),
    make("button", { type: "submit", class: "main", id: "submit" }, "Train both networks"),
  );
  find("spec").addEventListener("submit", (event) => submit(event, submitted));
  find("spec").addEventListener("change", remember);
  restore();
}

// ------------------------------------------------------------------------------------------------- the fields

const titled = (name) => {
  const words = name.split(".").at(-1).replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
};
const idOf = (name) => `field-${name.replaceAll(".", "-")}`;

function field(name, label, control, help, bounds) {
  const id = idOf(name);
  control.id = id;
  control.setAttribute("aria-describedby", `${id}-help ${id}-error`);
  controls.set(name, control);
  return make("div", { class: "field" },
    make("label", { for: id }, label), control,
    make("span", { class: "quiet", id: `${id}-help` }, [help, bounds].filter(Boolean).join(" ")),
    make("span", { class: "error", id: `${id}-error`, hidden: true }));
}

function presetField() {
  const options = [make("option", { value: "" }, "none: my own setting"), ...presets.map(({ name }) => make("option", { value: name }, name))];
  const select = make("select", { on: { change: () => take(select.value) } }, ...options);
  return field("preset", "Preset", select, "", "");
}

function fieldOf(name, schema) {
  const kinds = schema.anyOf || [schema];
  const kind = kinds.find((one) => one.type !== "null") || schema;
  const nullable = kinds.some((one) => one.type === "null");
  const usual = schema.default;
  let control;
  const choices = kind.enum || (kind.const !== undefined ? [kind.const] : null);
  if (choices) {
    control = make("select", {}, nullable ? make("option", { value: "" }, "the server’s") : null, ...choices.map((each) => make("option", {}, each)));
  } else if (kind.type === "boolean") {
    control = make("input", { type: "checkbox" });
  } else {
    const numeric = kind.type === "integer" || kind.type === "number";
    control = make("input", { type: "text", inputmode: kind.type === "integer" ? "numeric" : numeric ? "decimal" : "text", autocomplete: "off", spellcheck: "false" });
    if (nullable) control.placeholder = "left open";
    if (name === "batches_per_sample") control.placeholder = "40 points";
  }
  control.dataset.kind = kind.type || "string";
  control.dataset.usual = usual === null || usual === undefined || name === "batches_per_sample" ? "" : text(usual);
  return field(name, titled(name), control, schema.description || kind.description, bounds(kind));
}

// The bounds in words, from the schema's own.
function bounds(kind) {
  if (kind.type === "array") {
    const inner = bounds(kind.items || {});
    return `${kind.minItems ?? 0} to ${kind.maxItems ?? "any number of"} numbers, such as 100, 100${inner ? `; each ${inner[0].toLowerCase()}${inner.slice(1)}` : "."}`;
  }
  const { minimum, exclusiveMinimum, maximum, exclusiveMaximum } = kind;
  const low = minimum !== undefined ? `from ${minimum}` : exclusiveMinimum !== undefined ? `more than ${exclusiveMinimum}` : "";
  const high = maximum !== undefined ? `to ${maximum}` : exclusiveMaximum !== undefined ? `less than ${exclusiveMaximum}` : "";
  const words = [low, high].filter(Boolean).join(low.startsWith("more") && high.startsWith("to") ? ", up " : " ");
  return words ? `${words[0].toUpperCase()}${words.slice(1)}.` : "";
}

function axis(number) {
  const names = [...controls.keys()].filter((name) => name !== "preset");
  const select = make("select", {}, make("option", { value: "" }, "nothing"), ...names.map((name) => make("option", {}, name)));
  const values = make("input", { type: "text", autocomplete: "off", placeholder: "0.01, 0.1, 1" });
  return make("fieldset", {}, make("legend", {}, number ? "and" : "Vary"),
    field(`axis.${number}`, number ? "Second field" : "Field", select, ""),
    field(`values.${number}`, "Values, with commas between them", values, "Of layers, with brackets: [100], [100, 100]"));
}

// ----------------------------------------------------------------------------------------- what stands in them

const text = (any) => (Array.isArray(any) ? any.join(", ") : String(any));

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

function take(name) {
  for (const [each, any] of usual(name)) put(each, any);
  const preset = presets.find((one) => one.name === name);
  write(find(`${idOf("preset")}-help`), preset ? preset.shows : "A named setting of the lesson, or your own.");
}

// Keeps in the address what differs from the preset.
function remember() {
  const preset = controls.get("preset").value;
  const usually = usual(preset);
  const form = preset === FIRST_PRESET ? {} : { preset };
  for (const [name, control] of controls) if (shown(control) !== usually.get(name)) form[name] = shown(control);
  change({ form });
}

const axisNames = () => [...controls.keys()].filter((name) => /^(axis|values)\./.test(name));

export function restore() {
  take(state.form.preset ?? FIRST_PRESET);
  for (const [name, any] of Object.entries(state.form)) if (name !== "preset") put(name, any);
  if (axisNames().some((name) => state.form[name])) find("vary").open = true;
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

const number = (typed) => (typed !== "" && Number.isFinite(Number(typed)) ? Number(typed) : typed);

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
    const words = `Allowed: ${allowed}.${received === null ? "" : ` Received: ${inWords(received)}.`}`;
    if (!control) {
      loose.push(`${field}: ${words}`);
      continue;
    }
    control.setAttribute("aria-invalid", "true");
    write(find(`${control.id}-error`), words);
    for (let outer = control.closest("details"); outer; outer = outer.parentElement.closest("details")) outer.open = true;
    first ??= control;
  }
  if (first) first.focus();
  if (loose.length || !first) write(find("spec-error"), [loose.length ? "" : error.message, ...loose].join(" ").trim());
}

// The control of a field such as `hidden_layers.0`, `base.seed` or `grid.learning_rate.1`.
function controlOf(field) {
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
