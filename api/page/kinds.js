// Kinds of networks as the OpenAPI document tells of them: which fields each has alone, and what is usual for it.

import { flat } from "./words.js";

let kinds = new Map(); // by name: {own: names of fields, usual: values by the field's name}

export function learn(schema) {
  kinds = new Map(Object.entries(schema["x-kinds"]).map(([name, { own, usual }]) => [name, { own, usual: new Map(flat(usual)) }]));
}

// Whether a field belongs to other kinds than this one only.
export function isForeign(field, kind) {
  return [...kinds].some(([name, { own }]) => name !== kind && own.includes(field));
}

// Whether kinds differ in what is usual for a field.
export const differs = (field) => [...kinds.values()].some(({ usual }) => usual.has(field));

// What is usual for a field: of this kind, or, where the field's own default is, that.
export function usualFor(field, kind, byDefault) {
  return kinds.get(kind)?.usual.get(field) ?? byDefault;
}
