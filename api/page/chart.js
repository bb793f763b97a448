// Draws curves with Plotly: a line per arm for the mean, a band from the least to the most replicate, in the page's colours.

import { ARMS, ARM_WORDS, accuracy } from "./words.js";

const OF_COMPARED = ["#c65a00", "#1f77b4", "#2e8540", "#a23b9c", "#8a6d00", "#c2334d", "#00838f", "#6b5b95"];
const COARSE = matchMedia("(pointer: coarse)");

// A colour of the style sheet as Plotly can read it, in the theme of the moment.
function colour(name) {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = `var(--${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const faint = (rgb) => rgb.replace(/^rgba?\(([^,]+,[^,]+,[^,)]+).*$/, "rgba($1, 0.2)");

function hexToRgb(hex) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  return `rgb(${r}, ${g}, ${b})`;
}

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

// The accuracy after the last batch, and what the lesson printed for it.
function ends(shown, name, view, line) {
  const { experiment } = shown;
  const arm = experiment.arms[name];
  const final = arm.final_validation_accuracy;
  const published = experiment.preset?.published?.[name]?.validation_accuracy;
  const [x] = places([experiment.spec.training_batches - 1], view, arm.batches_per_second);
  const point = (y, name, symbol, colour) => ({
    x: [x], y: [y], name, mode: "markers", showlegend: false, cliponaxis: false,
    marker: { symbol, size: 9, color: colour }, hovertemplate: `${accuracy(y)}<extra>${name}</extra>`,
  });
  return [
    ...(final ? [point(final.mean, `${line.label}, at the end`, "circle", line.colour)] : []),
    ...(published !== undefined && published !== null
      ? [point(published, `the lesson, ${ARM_WORDS[name]}`, "star", colour("lesson"))]
      : []),
  ];
}

// Draws `shown`, a list of {experiment, curve, label}; several are told apart by colour, their arms by dashes.
export async function draw(element, shown, view, { small = false } = {}) {
  if (!window.Plotly) await loaded();
  const several = shown.length > 1;
  const data = shown.flatMap((one, number) =>
    ARMS.flatMap((name) => {
      const own = several ? hexToRgb(OF_COMPARED[number % OF_COMPARED.length]) : colour(name === ARMS[0] ? "without" : "with");
      const dash = several && name === ARMS[0] ? "dash" : "solid";
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
    margin: small ? { l: 30, r: 8, t: 6, b: 24 } : { l: 55, r: 15, t: 15, b: 45 },
    xaxis: {
      ...axis,
      type: view.scale,
      title: { text: small ? "" : inBatches ? "Training batches" : "Seconds of training, at the arm's mean speed" },
      ...(inBatches ? { range } : { rangemode: "tozero", autorange: true }),
      nticks: small ? 4 : 10,
      ...(log ? { dtick: 1 } : {}),
    },
    yaxis: { ...axis, range: [0, 1], dtick: small ? 0.5 : 0.1, title: { text: small ? "" : "Validation accuracy" } },
    showlegend: !small,
    legend: several
      ? { orientation: "h", y: -0.2, font: { size: 12 } }
      : { x: 1, xanchor: "right", y: 0.02, yanchor: "bottom", bgcolor: faint(colour("sheet")) },
    hovermode: "x unified",
    hoverlabel: { bgcolor: colour("paper"), bordercolor: line, font: { color: ink } },
    dragmode: COARSE.matches ? false : "zoom",
    uirevision: `${view.x}/${view.scale}/${shown.map((one) => one.experiment.id)}`,
  };
}

function loaded() {
  return new Promise((resolve, reject) => {
    const script = document.querySelector('script[src$="plotly.js"]');
    script.addEventListener("load", resolve, { once: true });
    script.addEventListener("error", () => reject(new Error("The chart's library did not load.")), { once: true });
  });
}

// The picture as it is seen, as a data URL.
export function picture(element, format) {
  const background = colour("sheet");
  const figure = { data: element.data, layout: { ...element.layout, paper_bgcolor: background } };
  return window.Plotly.toImage(figure, { format, width: 1000, height: 600, scale: format === "png" ? 2 : 1 });
}
