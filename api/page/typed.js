// What stands in the form as it is sent: a spec, and what varies.

import { NUMBERS, chosenKind, controls, isAxis } from "./fields.js";
import { isForeign } from "./kinds.js";

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

// The spec; what belongs to another kind of network, or says what varies, is no part of it.
export function spec() {
  const body = {};
  for (const [name, control] of controls) {
    const any = isAxis(name) || isForeign(name, chosenKind()) ? undefined : sent(control);
    if (any === undefined) continue;
    const [outer, inner] = name.split(".");
    if (inner) body[outer] = { ...body[outer], [inner]: any };
    else body[name] = any;
  }
  return body;
}

// What varies, and its values.
export function grid() {
  const varied = {};
  for (const number of NUMBERS) {
    const name = controls.get(`axis.${number}`).value;
    if (name) varied[name] = listed(controls.get(`values.${number}`).value);
  }
  return varied;
}

// What varies does not stand in the base too.
export function baseWithout(body, varied) {
  const base = structuredClone(body);
  for (const name of Object.keys(varied)) {
    const [outer, inner] = name.split(".");
    if (inner) delete base[outer]?.[inner];
    else delete base[outer];
  }
  return base;
}
