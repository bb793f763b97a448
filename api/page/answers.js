// Four answers side by side: each network with each kind of statistics, ten bars each.

import { fill, find, make } from "./dom.js";
import { ARMS, ARM_WORDS, percent } from "./words.js";

const KINDS = ["population", "batch"];

function remark(arm, statistics, label, answer, network) {
  if (arm === ARMS[0] && statistics === "batch") return "It has no statistics: the same answer.";
  if (statistics === "batch" && network === "convolutional") return "A batch of one: normalized by its own pixels.";
  if (statistics === "batch") return "A batch of one: the same answer, whatever is drawn.";
  if (label === null || answer.failed) return "";
  return answer.digit === label ? "Right." : `Wrong: it is a ${label}.`;
}

function card(arm, statistics, answer, label, network) {
  const title = `${ARM_WORDS[arm]}, ${statistics} statistics`;
  const words = remark(arm, statistics, label, answer, network);
  if (answer.failed) return make("section", { class: `answer ${arm}`, "aria-label": title }, make("h3", {}, title), make("p", { class: "quiet" }, answer.failed));
  const bars = answer.probabilities.map((share, digit) => {
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    bar.style.width = `${100 * share}%`;
    return make("li", {}, make("span", {}, String(digit)), bar, make("span", {}, percent(share)));
  });
  return make("section", { class: `answer ${arm}`, "aria-label": title, "data-arm": arm, "data-statistics": statistics, "data-digit": answer.digit },
    make("h3", {}, title),
    make("p", { class: "big" }, String(answer.digit)),
    make("ol", { "aria-label": "Probability of each digit" }, ...bars),
    words ? make("p", { class: "quiet" }, words) : null);
}

export function cards(answers, label, network) {
  fill(find("answers"), ...ARMS.flatMap((arm) => KINDS.map((kind) => card(arm, kind, answers[arm][kind], label, network))));
}

export function clear() {
  fill(find("answers"));
}
