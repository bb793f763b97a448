// What came out of an experiment, beside what the lesson published for the same setting.

import { make } from "./dom.js";
import { ARMS, ARM_WORDS, accuracy, count, mean, range, signed } from "./words.js";

function rows(experiment) {
  const arms = ARMS.map((name) => experiment.arms[name]);
  const published = ARMS.map((name) => experiment.preset?.published?.[name] ?? null);
  const inference = experiment.preset?.published?.inference ?? null;
  const ofInference = (statistics, pick) => [null, inference?.statistics === statistics ? pick(inference) : null];
  const each = (read, of = [null, null]) => arms.map((arm, i) => [read(arm), of[i]]);
  return [
    ["Validation accuracy at the end", each((arm) => arm.final_validation_accuracy, published.map((one) => one?.validation_accuracy))],
    ["Test accuracy, population statistics", each((arm) => arm.test?.population.accuracy,
      published.map((one, i) => one?.test_accuracy ?? ofInference("population", (printed) => printed.test_accuracy)[i]))],
    ["Test accuracy, batch statistics", each((arm) => arm.test?.batch?.accuracy, ofInference("batch", (printed) => printed.test_accuracy))],
    ["Single images right, population statistics", each((arm) => arm.test?.population.single_predictions.accuracy,
      ofInference("population", (printed) => printed.single_predictions.accuracy))],
    ["Single images, batch statistics: different answers", each((arm) => arm.test?.batch?.single_predictions.distinct_answers ?? "–",
      ofInference("batch", (printed) => printed.single_predictions.distinct_answers))],
    ["Reached 0.9 after, in batches", each((arm) => reached(arm.reached_90_percent_after))],
    ["Replicates that learned (above 0.2)", each((arm) => learned(arm, experiment.spec.replicates))],
    ["Batches per second", each((arm) => (arm.batches_per_second ? count(Math.round(arm.batches_per_second)) : "–"),
      published.map((one) => (one ? count(Math.round(one.batches_per_second)) : null)))],
    ["Diverged at batch", each((arm) => (arm.diverged_at === null ? "–" : count(arm.diverged_at)))],
  ];
}

function reached(batches) {
  if (!batches) return "–";
  if (batches.every((each) => each === null)) return "never";
  return batches.map((each) => (each === null ? "never" : count(each))).join(", ");
}

function learned(arm, replicates) {
  return arm.learned === null || replicates === 1 ? "–" : `${arm.learned} of ${replicates}`;
}

const printed = (any) => (any === null || any === undefined ? "" : typeof any === "number" && any < 1 ? accuracy(any) : String(any));
const isSpread = (own) => own !== null && typeof own === "object";
const nothing = (own) => own === null || own === undefined || own === "–";
const meaning = (cells) => cells.some(([own]) => !nothing(own));

// A figure of ours; of several replicates the mean, and below it from where to where they reach.
function cell(own) {
  if (!isSpread(own)) return make("td", { class: "number" }, nothing(own) ? "–" : String(own));
  return make("td", { class: "number" }, mean(own), range(own) ? make("span", { class: "range" }, range(own)) : null);
}

// Returns the table and its remarks; nothing while there is no result.
export function results(experiment) {
  const filled = rows(experiment).filter(([, cells]) => meaning(cells));
  const remarks = [difference(experiment), ...experiment.warnings.map((warning) => warning.message), overridden(experiment)];
  const told = remarks.filter(Boolean).map((words) => make("p", { class: "quiet" }, words));
  if (!experiment.arms[ARMS[0]].test && !experiment.arms[ARMS[1]].test) return told;
  const lesson = filled.some(([, cells]) => cells.some(([, of]) => of !== null && of !== undefined));
  const head = ARMS.flatMap((name) => [ARM_WORDS[name], ...(lesson ? ["the lesson"] : [])]);
  const table = make("table", {},
    make("caption", {}, "Results"),
    make("thead", {}, make("tr", {}, make("td"), ...head.map((words) => make("th", { scope: "col", class: "number" }, words)))),
    make("tbody", {}, ...filled.map(([name, cells]) => make("tr", {}, make("th", { scope: "row" }, name),
      ...cells.flatMap(([own, of]) => [cell(own), lesson ? make("td", { class: "number" }, printed(of)) : null])))));
  return [make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Results" }, table), ...told];
}

function difference(experiment) {
  const found = experiment.comparison?.final_validation_accuracy;
  if (!found) return "";
  const interval = found.confidence_interval_95;
  return `At the end, with minus without batch normalization: ${signed(found.mean)}${interval ? `, 95 % confidence: ${signed(interval.low)} to ${signed(interval.high)}` : ""}.`;
}

function overridden(experiment) {
  const names = experiment.preset?.overridden ?? [];
  return names.length ? `Not as the preset ${experiment.preset.name} has it: ${names.join(", ")}. So nothing published stands beside it.` : "";
}
