// Asks the service: adds the key, turns problem+json into errors, and knows whether the connection stands.

import { find, write } from "./dom.js";
import { key } from "./store.js";

const PATIENCE_MS = 20_000;
let lost = false;

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || `The service answered ${status}.`);
    Object.assign(this, { status, code: body.code, errors: body.errors || [], retryAfter: 0 });
  }
}

export class Lost extends Error {}

export function headers(more = {}) {
  return key.get() ? { ...more, Authorization: `Bearer ${key.get()}` } : more;
}

// Returns the answer; throws Problem where the service says no, and Lost where nobody answers, or not in time.
export async function ask(path, { method = "GET", body, type, more = {}, signal } = {}) {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  const signals = signal ? AbortSignal.any([signal, patience]) : patience;
  const request = { method, headers: headers(more), signal: signals, cache: "no-store", credentials: "omit" };
  if (body !== undefined) {
    request.body = type ? body : JSON.stringify(body);
    request.headers["Content-Type"] = type || "application/json";
  }
  let answer;
  try {
    answer = await fetch(path, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    connectionIsLost();
    throw new Lost("The service does not answer.");
  }
  connectionStands();
  if (!answer.ok) throw await problemOf(answer);
  return answer;
}

export async function askJson(path, options) {
  return (await ask(path, options)).json();
}

export async function problemOf(answer) {
  let body = {};
  try {
    body = await answer.json();
  } catch {
    // Somebody in between answered, and not in our words.
  }
  const problem = new Problem(answer.status, body);
  problem.retryAfter = Number(answer.headers.get("Retry-After")) || 0;
  if (answer.status === 401) document.dispatchEvent(new CustomEvent("key-needed"));
  return problem;
}

export function connectionIsLost() {
  lost = true;
  write(find("connection"), "The connection to the service is lost. What trains goes on; this page tries again by itself.");
}

export function connectionStands() {
  if (!lost) return;
  lost = false;
  write(find("connection"), "");
  document.dispatchEvent(new CustomEvent("connected"));
}

// Asks again and again while the page is seen, from the first `now` on; more seldom while it fails.
export function poll(interval, look) {
  let timer;
  let failures = 0;
  let controller = new AbortController();
  const again = async () => {
    clearTimeout(timer);
    controller.abort();
    const mine = (controller = new AbortController());
    try {
      await look(mine.signal);
      failures = 0;
    } catch (error) {
      if (error.name === "AbortError" || error.status === 401) return; // until there is another key
      failures += 1;
    }
    if (mine === controller && !document.hidden) timer = setTimeout(again, interval * Math.min(2 ** failures, 8));
  };
  const seen = () => (document.hidden ? clearTimeout(timer) : again());
  document.addEventListener("visibilitychange", seen);
  for (const event of ["connected", "key-changed"]) document.addEventListener(event, again);
  return { now: again };
}
