// Draws curves with Plotly: a line per arm for the mean, a band from the least to the most replicate, in the page's colours.

import { make } from "./dom.js";
import { ARMS, ARM_WORDS } from "./words.js";

const COLOURS = 8; // of compared experiments, in the style sheet
const COARSE = matchMedia("(pointer: coarse)");

// A colour of the style sheet as Plotly can read it, in the theme of the moment.
function colour(name) {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.forcedColorAdjust = "none";
  probe.style.color = `var(--${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const faint = (rgb) => rgb.replace(/^rgba?\(([^,]+,[^,]+,[^,)]+).*$/, "rgba($1, 0.2)");

const nameOf = (number, several, arm) => (several ? `compared-${(number % COLOURS) + 1}` : arm === ARMS[0] ? "without" : "with");

// Where a point stands on the x axis; a step is the batch after which was measured, counted from 0.
function places(steps, view, speed) {
  if (view.x === "seconds") return steps.map((step) => (speed ? (step + 1) / speed : null));
  return view.scale === "log" ? steps.map((step) => step + 1) : steps;
}

function traces(shown, name, view, line) {
  const curve = shown.curve[name];
  const arm = shown.experiment.arms[name];
  const x = places(curve.steps, view, arm.batches_per_second);
  const band = curve.replicates.length > 1;
  const group = `${shown.experiment.id}/${name}`;
  const edge = { x, mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false, legendgroup: group };
  const mean = {
    x,
    y: curve.mean,
    name: line.label,
    mode: curve.steps.length === 1 ? "markers" : "lines",
    line: { color: line.colour, width: 2.5, dash: line.dash },
    marker: { color: line.colour },
    legendgroup: group,
    hovertemplate: band
      ? "%{y:.4f} (%{customdata[0]:.4f} … %{customdata[1]:.4f})"
      : "%{y:.4f}",
    customdata: curve.mean.map((_, i) => [curve.min[i], curve.max[i]]),
  };
  const lower = { ...edge, y: curve.min };
  const upper = { ...edge, y: curve.max, fill: "tonexty", fillcolor: faint(line.colour) };
  return [...(band ? [lower, upper] : []), mean];
}

// From the last point to the accuracy after the last batch; and what the lesson printed for that.
function ends(shown, name, view, line) {
  const { experiment, curve } = shown;
  const arm = experiment.arms[name];
  const final = arm.final_validation_accuracy;
  const published = experiment.preset?.published?.[name]?.validation_accuracy ?? null;
  const steps = [...curve[name].steps.slice(-1), experiment.spec.training_batches - 1];
  const x = places(steps, view, arm.batches_per_second);
  const more = { showlegend: false, cliponaxis: false };
  const reached = final && {
    ...more, x, y: [...curve[name].mean.slice(-1), final.mean], name: `${line.label}, at the end`, mode: "lines+markers",
    line: { color: line.colour, width: 2.5, dash: line.dash }, marker: { color: line.colour, size: x.map((_, i) => (i === x.length - 1 ? 9 : 0)) },
    hovertemplate: "%{y:.4f}",
  };
  const printed = published !== null && {
    ...more, x: x.slice(-1), y: [published], name: `the lesson, ${ARM_WORDS[name]}`, mode: "markers",
    marker: { symbol: "star", size: 11, color: colour("lesson"), line: { color: colour("ink"), width: 1 } },
    hovertemplate: "%{y:.4f}",
  };
  return [reached, printed].filter(Boolean);
}

const drawings = new WeakMap(); // the last one of each element

// Draws in an element, after what was to be drawn there before: what is asked for last is what is seen.
export function draw(element, ...what) {
  const before = drawings.get(element) ?? Promise.resolve();
  const next = before.catch(() => {}).then(() => drawNow(element, ...what));
  drawings.set(element, next);
  return next;
}

// Draws `shown`, a list of {experiment, curve, label}; several are told apart by colour, arms by dashes too.
async function drawNow(element, shown, view, { small = false } = {}) {
  await library();
  const several = shown.length > 1;
  const data = shown.flatMap((one, number) =>
    ARMS.flatMap((name) => {
      const own = colour(nameOf(number, several, name));
      const dash = name === ARMS[0] ? "dash" : "solid";
      const line = { label: several ? `${one.label}, ${ARM_WORDS[name]}` : ARM_WORDS[name], colour: own, dash };
      return [...traces(one, name, view, line), ...(small ? [] : ends(one, name, view, line))];
    }),
  );
  await window.Plotly.react(element, data, layout(shown, view, small, several), {
    displayModeBar: false,
    responsive: true,
    staticPlot: small,
    scrollZoom: false,
  });
}

function layout(shown, view, small, several) {
  const [ink, line] = [colour("ink"), colour("line")];
  const longest = Math.max(1, ...shown.map((one) => one.experiment.spec.training_batches));
  const inBatches = view.x === "batches";
  const log = view.scale === "log";
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
  const range = log ? [0, Math.log10(longest)] : [0, longest];
  return {
    font: { color: ink, size: small ? 10 : 13, family: getComputedStyle(document.body).fontFamily },
    paper_bgcolor: "rgba(0, 0, 0, 0)",
    plot_bgcolor: "rgba(0, 0, 0, 0)",
    margin: small ? { l: 30, r: 8, t: 6, b: 24 } : { l: 55, r: 15, t: several ? 15 : 40, b: 45 },
    xaxis: {
      ...axis,
      type: view.scale,
      title: { text: small ? "" : inBatches ? "Training batches" : "Seconds of training, at the arm's mean speed" },
      ...(inBatches ? { range } : { rangemode: "tozero", autorange: true }),
      nticks: small ? 4 : 10,
      ...(log ? { dtick: 1 } : {}),
    },
    yaxis: { ...axis, range: [0, 1], dtick: small ? 0.5 : 0.1, title: { text: small ? "" : "Validation accuracy" } },
    showlegend: !small && !several, // compared ones have theirs in the table
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    hovermode: "x unified",
    hoverlabel: { bgcolor: colour("paper"), bordercolor: line, font: { color: ink } },
    dragmode: COARSE.matches ? false : "zoom",
    uirevision: `${view.x}/${view.scale}/${shown.map((one) => one.experiment.id)}`,
  };
}

let asked = null;

// The chart's library, which is large: it is asked for once, and nothing else waits for it.
export function library() {
  asked ??= new Promise((resolve, reject) => {
    const failed = () => {
      asked = null; // the next chart asks again
      reject(new Error("The chart's library did not load."));
    };
    document.head.append(make("script", { src: "/page/plotly.js", on: { load: resolve, error: failed } }));
  });
  return asked;
}

// The picture as it is seen, as a data URL.
export function picture(element, format) {
  const background = colour("sheet");
  const figure = { data: element.data, layout: { ...element.layout, paper_bgcolor: background } };
  return window.Plotly.toImage(figure, { format, width: 1000, height: 600, scale: format === "png" ? 2 : 1 });
}

// The colours of a compared experiment's lines, as they stand beside its name.
export function swatch(number, compared) {
  return make("span", { class: `swatch ${nameOf(number, compared > 1, ARMS[1])}`, "aria-hidden": "true" });
}
