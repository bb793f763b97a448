// Saves what is shown: the picture as it is seen, the points as the service has them.

import { ask, askJson } from "./api.js";
import { picture } from "./chart.js";
import { fill, make } from "./dom.js";

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// Experiments one below the other, each line beginning with its id.
async function table(ids) {
  const texts = await Promise.all(ids.map(async (id) => (await ask(`/experiments/${id}/curve?format=csv`)).text()));
  const lines = texts.map((text) => text.trimEnd().split(/\r?\n/));
  const rows = lines.flatMap(([, ...points], number) => points.map((point) => `${ids[number]},${point}`));
  return [`experiment,${lines[0][0]}`, ...rows, ""].join("\r\n");
}

async function answers(ids) {
  return Promise.all(
    ids.map(async (id) => ({
      experiment: await askJson(`/experiments/${id}`),
      curve: await askJson(`/experiments/${id}/curve?format=json`),
    })),
  );
}

// Puts a button for each format into a box; `ids` says whose points are shown, `attempt` runs what may go wrong.
export function offer(box, chart, ids, attempt) {
  fill(box, ...["png", "svg", "csv", "json"].map((format) =>
    make("button", { type: "button", "data-download": format, on: { click: () => attempt(() => download(format, chart, ids())) } }, format.toUpperCase())));
}

async function download(format, chart, ids) {
  const name = `bnlab-${ids.length === 1 ? ids[0] : "comparison"}.${format}`;
  if (format === "csv") save(new Blob([await table(ids)], { type: "text/csv" }), name);
  else if (format === "json") {
    const all = await answers(ids);
    save(new Blob([JSON.stringify(ids.length === 1 ? all[0] : all, null, 1)], { type: "application/json" }), name);
  } else save(blobOf(await picture(chart, format)), name);
}

// Of a data URL, without asking for it: the policy lets the page connect to the service only.
function blobOf(url) {
  const [head, body] = [url.slice(5, url.indexOf(",")), url.slice(url.indexOf(",") + 1)];
  const type = head.split(";")[0];
  if (!head.endsWith("base64")) return new Blob([decodeURIComponent(body)], { type });
  return new Blob([Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0))], { type });
}

export async function saveSweepTable(id) {
  const text = await (await ask(`/sweeps/${id}?format=csv`)).text();
  save(new Blob([text], { type: "text/csv" }), `bnlab-sweep-${id}.csv`);
}
