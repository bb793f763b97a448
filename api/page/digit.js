// Draw a digit, or take one, and see four answers: each network with each kind of statistics.

import { Lost, askJson } from "./api.js";
import { cards, clear as clearCards } from "./answers.js";
import { announce, fill, find, make, notice, write } from "./dom.js";
import { Pad } from "./pad.js";
import { change, onChange, state } from "./state.js";
import { ARMS, ARM_WORDS, setting } from "./words.js";

const SAMPLES = 20;
const LARGEST = 512; // what is uploaded is made no larger than this
const TEST = "test:";
const INK = "ink:";

let pad;
let samples = [];
let network = null; // the experiment that answers; null: the newest that succeeded
let asked = 0;
let uploaded = false;

export async function start() {
  pad = new Pad(find("pad"), find("pad-cursor"), drawn);
  find("pad-clear").addEventListener("click", () => (pad.clear(), drawn()));
  find("upload").addEventListener("change", (event) => upload(event.target));
  onChange((changes) => {
    if ("digit" in changes && changes.digit !== own) restore();
  });
  document.addEventListener("key-changed", load);
  document.addEventListener("connected", () => (samples.length ? again() : load()));
  restore();
  await load();
}

// Uses the networks of this experiment from now on, if it has any.
export function use(experiment) {
  const next = experiment?.status === "succeeded" ? experiment : null;
  if (next?.id === network?.id) return;
  network = next;
  again();
}

async function load() {
  try {
    samples = (await askJson(`/digits?count=${SAMPLES}`)).digits;
    write(find("samples-title"), "Or take one of the test set:");
  } catch (error) {
    samples = [];
    if (!(error instanceof Lost)) write(find("samples-title"), error.status === 401 ? "" : `The test set is not at hand: ${error.message}`);
  }
  fill(find("samples"), ...samples.map((sample) => make("button",
    { type: "button", "aria-pressed": "false", "aria-label": `Test image ${sample.index}, a ${sample.label}`, on: { click: () => remember(TEST + sample.index, () => take(sample)) } },
    paint(make("canvas", { width: 28, height: 28 }), sample.image))));
  if (state.digit.startsWith(TEST)) restore(); // a drawing that was begun meanwhile stays
  else again();
}

// ------------------------------------------------------------------------------------------ what is to be read

let own = "";

function remember(digit, act) {
  own = digit;
  change({ digit });
  act();
}

function restore() {
  own = state.digit;
  uploaded = false;
  if (state.digit.startsWith(TEST)) {
    const sample = samples.find((one) => String(one.index) === state.digit.slice(TEST.length));
    if (sample) return take(sample);
  } else if (state.digit.startsWith(INK) && pad.fromText(state.digit.slice(INK.length))) return again();
  if (state.digit && (samples.length || !state.digit.startsWith(TEST))) notice("The digit of this link cannot be read.");
  pad.clear();
  return again();
}

function drawn() {
  uploaded = false;
  const text = pad.asText();
  remember(text ? INK + text : "", again);
}

function take(sample) {
  uploaded = false;
  pad.show(paint(make("canvas", { width: 28, height: 28 }), sample.image));
  again();
}

const mark = (sample) => samples.forEach((one, i) => find("samples").children[i].setAttribute("aria-pressed", String(one === sample)));

async function upload(input) {
  const [file] = input.files;
  input.value = "";
  if (!file) return;
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, LARGEST / Math.max(bitmap.width, bitmap.height));
    const picture = make("canvas", { width: Math.max(1, Math.round(bitmap.width * scale)), height: Math.max(1, Math.round(bitmap.height * scale)) });
    const context = picture.getContext("2d");
    context.drawImage(bitmap, 0, 0, picture.width, picture.height);
    pad.show(picture);
    uploaded = true;
    remember("", again);
  } catch {
    clearCards();
    write(find("digit-error"), `${file.name} is no picture that this browser can read.`);
  }
}

// ------------------------------------------------------------------------------------------------ the answers

function again() {
  const sample = samples.find((one) => TEST + one.index === own);
  mark(sample ?? null);
  ask(sample ?? null);
}

async function ask(sample) {
  const mine = (asked += 1);
  write(find("digit-error"), "");
  tellNetwork(network);
  if (pad.isEmpty) {
    clearCards();
    paint(find("seen"), null);
    return;
  }
  try {
    const answers = await four(sample);
    if (mine !== asked) return;
    paint(find("seen"), answers.image);
    const experiment = await whose(answers.experiment);
    if (mine !== asked) return;
    tellNetwork(experiment);
    cards(answers, sample?.label ?? null, experiment.spec.network);
    announce(`${ARM_WORDS[ARMS[1]]} reads ${answers[ARMS[1]].population.digit} with population statistics, ${answers[ARMS[1]].batch.digit} with batch statistics.`);
  } catch (error) {
    if (mine !== asked) return;
    clearCards();
    if (error.status !== 401) write(find("digit-error"), error.status === 409 && error.code === "nothing_trained" ? "No network is trained yet: train one first." : error.errors?.length
      ? error.errors.map((one) => `${one.field}: allowed is ${one.allowed}.`).join(" ") : error.message);
  }
}

// Each network with each kind of statistics; without batch normalization there are no statistics to choose.
async function four(sample) {
  const chosen = network ? { experiment: network.id } : {};
  const whole = { arm: ARMS[1], statistics: "population", ...chosen };
  const first = sample ? await askJson("/predict", { method: "POST", body: { image: sample.image, ...whole } }) : await ofPicture(whole);
  const image = sample ? sample.image : first.image;
  const same = { image, experiment: first.experiment };
  const [batch, without] = await Promise.all([
    askJson("/predict", { method: "POST", body: { ...same, arm: ARMS[1], statistics: "batch" } }),
    predictWithout(same),
  ]);
  return { image, experiment: first.experiment, [ARMS[1]]: { population: first, batch }, [ARMS[0]]: { population: without, batch: without } };
}

// A network without batch normalization may have diverged: that is its answer.
async function predictWithout(same) {
  try {
    return await askJson("/predict", { method: "POST", body: { ...same, arm: ARMS[0], statistics: "population" } });
  } catch (error) {
    if (error.status === 409) return { failed: error.message };
    throw error;
  }
}

async function ofPicture(choice) {
  const body = uploaded ? await blobOf(pad.picture) : await pad.asPicture();
  return askJson(`/predict?${new URLSearchParams({ ...choice, normalize: "true" })}`, { method: "POST", body, type: "image/png" });
}

const blobOf = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));

const answered = new Map(); // experiments that answered, by id

async function whose(id) {
  if (network?.id === id) return network;
  if (!answered.has(id)) answered.set(id, await askJson(`/experiments/${id}`));
  return answered.get(id);
}

function tellNetwork(experiment) {
  const which = network ? "The networks of the run you watch" : "The networks of the newest run that succeeded";
  write(find("digit-network"), experiment ? `${which}: ${setting(experiment.spec)}.` : `${which} answer.`);
  const ofPixels = experiment?.spec.network === "convolutional";
  find("why-own-pixels").hidden = !ofPixels;
  find("why-one-value").hidden = ofPixels;
}

function paint(canvas, rows) {
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(28, 28);
  for (let i = 0; i < 784; i += 1) pixels.data.set([...Array(3).fill(rows ? Math.round(255 * rows[Math.floor(i / 28)][i % 28]) : 0), 255], 4 * i);
  context.putImageData(pixels, 0, 0);
  return canvas;
}
