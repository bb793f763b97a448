// Follows the events of an experiment (server-sent events), with a key in a header, and goes on after every cut.

import { connectionIsLost, connectionStands, headers, problemOf } from "./api.js";

const SILENCE_MS = 40_000; // the service sends a comment every 15 seconds
const PAUSES_MS = [500, 1000, 2000, 4000];

// Calls `tell(event, data)` for each event until the last one. Throws Problem if the experiment cannot be followed.
// A page that nobody sees holds no connection: browsers have few of them for one service.
export async function follow(id, tell, signal) {
  let last = "";
  let failures = 0;
  while (!signal.aborted) {
    let asked = 0; // milliseconds that a busy service asks for
    if (document.hidden) await nextTimeSeen(signal);
    try {
      const ended = await once(id, last, signal, (event) => {
        failures = 0;
        if (event.id) last = event.id;
        tell(event.name, JSON.parse(event.data));
        return event.name === "end";
      });
      if (ended) return;
    } catch (error) {
      if (signal.aborted) return;
      if (error.status && error.status !== 429 && error.status < 500) throw error;
      if (!error.status && error.name !== "AbortError") connectionIsLost();
      asked = 1000 * (error.retryAfter ?? 0);
    }
    await pause(Math.max(asked, PAUSES_MS[Math.min(failures, PAUSES_MS.length - 1)]), signal);
    failures += 1;
  }
}

async function once(id, last, signal, tell) {
  const cut = new AbortController();
  const stop = () => cut.abort();
  const silent = () => (connectionIsLost(), stop());
  const unseen = () => document.hidden && stop();
  let watchdog = setTimeout(silent, SILENCE_MS);
  signal.addEventListener("abort", stop);
  document.addEventListener("visibilitychange", unseen);
  try {
    const more = { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) };
    const path = `/experiments/${encodeURIComponent(id)}/events`;
    const answer = await fetch(path, { headers: headers(more), signal: cut.signal, cache: "no-store", credentials: "omit" });
    connectionStands();
    if (answer.status === 204) return true;
    if (!answer.ok) throw await problemOf(answer);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    const parse = parser();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return false;
      clearTimeout(watchdog);
      watchdog = setTimeout(silent, SILENCE_MS);
      for (const event of parse(value)) if (tell(event)) return true;
    }
  } finally {
    clearTimeout(watchdog);
    stop();
    signal.removeEventListener("abort", stop);
    document.removeEventListener("visibilitychange", unseen);
  }
}

// Returns what takes pieces of a stream and gives the events that are whole by then (WHATWG, HTML, 9.2.6).
export function parser() {
  let rest = "";
  let event = { name: "message", data: [], id: "" };
  return (piece) => {
    const lines = (rest + piece).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    const whole = [];
    for (const line of lines) {
      if (line === "") {
        if (event.data.length) whole.push({ ...event, data: event.data.join("\n") });
        event = { name: "message", data: [], id: "" };
      } else if (!line.startsWith(":")) {
        const [, field, value] = /^([^:]*):? ?([^]*)$/.exec(line);
        if (field === "event") event.name = value;
        if (field === "data") event.data.push(value);
        if (field === "id") event.id = value;
      }
    }
    return whole;
  };
}

const pause = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });

const nextTimeSeen = (signal) =>
  new Promise((resolve) => {
    const seen = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener("visibilitychange", seen);
      resolve();
    };
    document.addEventListener("visibilitychange", seen);
    signal.addEventListener("abort", seen, { once: true });
  });
