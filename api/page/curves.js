// The points of an experiment as they come: added in order, each once, forgotten where an arm begins again.

import { ARMS } from "./words.js";

const COLUMNS = ["mean", "min", "max", "std"];
const none = () => ({ steps: [], mean: [], min: [], max: [], std: [], replicates: [] });

export const empty = () => Object.fromEntries(ARMS.map((name) => [name, none()]));

export function add(curve, points) {
  const arm = points.restarted ? none() : curve[points.arm];
  const first = points.steps.length ? points.steps[0] : Infinity;
  const kept = arm.steps.filter((step) => step < first).length; // what comes twice counts the second time
  const joined = { steps: [...arm.steps.slice(0, kept), ...points.steps] };
  for (const name of COLUMNS) joined[name] = [...arm[name].slice(0, kept), ...points[name]];
  joined.replicates = (points.replicates.length ? points.replicates : arm.replicates).map((further, r) => [
    ...(arm.replicates[r] || []).slice(0, kept),
    ...(points.replicates.length ? further : []),
  ]);
  curve[points.arm] = joined;
}
