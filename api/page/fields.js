// The fields of the form: for each setting of the OpenAPI document a control, with its meaning and its bounds.

import { make } from "./dom.js";
import { differs } from "./kinds.js";

export const controls = new Map(); // by the field's name, with a dot into an object

export const idOf = (name) => `field-${name.replaceAll(".", "-")}`;
export const text = (any) => (Array.isArray(any) ? any.join(", ") : String(any));

const HINTS = { batches_per_sample: "so many that there are 40 points", strides: "left open" };
const USUAL = "the usual one"; // what a field that is left open stands for, if kinds of networks differ in it

export function titled(name) {
  const words = name.replaceAll("_", " ").replaceAll(".", ": ");
  return words[0].toUpperCase() + words.slice(1);
}

const plain = (words) => words.replaceAll("`", "");

export function field(name, label, control, help, bounds) {
  const id = idOf(name);
  control.id = id;
  control.setAttribute("aria-describedby", `${id}-help ${id}-error`);
  controls.set(name, control);
  return make("div", { class: "field" },
    make("label", { for: id }, label), control,
    make("span", { class: "quiet", id: `${id}-help` }, [plain(help), bounds].filter(Boolean).join(" ")),
    make("span", { class: "error", id: `${id}-error`, hidden: true }));
}

export function ofPresets(presets, take) {
  const options = [make("option", { value: "" }, "none: my own setting"), ...presets.map(({ name }) => make("option", { value: name }, name))];
  const select = make("select", { on: { change: () => take(select.value) } }, ...options);
  return field("preset", "Preset", select, "", "");
}

export function ofSchema(name, schema) {
  const kinds = schema.anyOf || [schema];
  const kind = kinds.find((one) => one.type !== "null") || schema;
  const control = controlFor(name, kind, kinds.some((one) => one.type === "null"));
  const usual = schema.default ?? "";
  control.dataset.kind = kind.type || "string";
  control.dataset.usual = name === "batches_per_sample" ? "" : text(usual);
  return field(name, titled(name.split(".").at(-1)), control, schema.description || kind.description || "", bounds(kind, schema.default));
}

function controlFor(name, kind, nullable) {
  const choices = kind.enum || (kind.const !== undefined ? [kind.const] : null);
  const open = differs(name) ? USUAL : nullable ? "the service’s own" : null;
  if (choices) return make("select", {}, open ? make("option", { value: "" }, open) : null, ...choices.map((each) => make("option", {}, each)));
  if (kind.type === "boolean") return make("input", { type: "checkbox" });
  const mode = { integer: "numeric", number: "decimal" }[kind.type] ?? "text";
  const hint = HINTS[name] ?? (differs(name) ? USUAL : nullable ? "left open" : null);
  return make("input", { type: "text", inputmode: mode, autocomplete: "off", spellcheck: "false", placeholder: hint });
}

// The bounds in words, from the schema's own; of a list with the first two of its default as an example.
function bounds(kind, usual) {
  if (kind.type === "array") {
    const inner = bounds(kind.items || {});
    const example = usual?.length ? `such as ${text(usual.slice(0, 2))}` : "with commas between them";
    return `${kind.minItems ?? 0} to ${kind.maxItems ?? "any number of"} numbers, ${example}${inner ? `; each ${inner[0].toLowerCase()}${inner.slice(1)}` : "."}`;
  }
  const { minimum, exclusiveMinimum, maximum, exclusiveMaximum } = kind;
  const low = minimum !== undefined ? `from ${minimum}` : exclusiveMinimum !== undefined ? `more than ${exclusiveMinimum}` : "";
  const high = maximum !== undefined ? `to ${maximum}` : exclusiveMaximum !== undefined ? `less than ${exclusiveMaximum}` : "";
  const words = [low, high].filter(Boolean).join(low.startsWith("more") && high.startsWith("to") ? ", up " : " ");
  return words ? `${words[0].toUpperCase()}${words.slice(1)}.` : "";
}

export const NUMBERS = [0, 1]; // of the fields that may vary
export const axes = () => NUMBERS.map((number) => controls.get(`axis.${number}`));
export const isAxis = (name) => /^(axis|values)\./.test(name);

// The kind of network that is chosen; "" if it varies.
export const chosenKind = () => (axes().some(({ value }) => value === "network") ? "" : controls.get("network").value);

// Of a sweep: which field varies, and its values.
export function ofAxis(number) {
  const names = [...controls.keys()].filter((name) => name !== "preset" && !isAxis(name));
  const options = names.map((name) => make("option", { value: name }, titled(name)));
  const select = make("select", {}, make("option", { value: "" }, "nothing"), ...options);
  const values = make("input", { type: "text", autocomplete: "off", placeholder: "0.01, 0.1, 1" });
  return make("fieldset", {}, make("legend", {}, number ? "and" : "Vary"),
    field(`axis.${number}`, number ? "Second field" : "Field", select, ""),
    field(`values.${number}`, "Values, with commas between them", values, "Of layers, with brackets: [100], [100, 100]"));
}
