/* Everything that the page asks of its node. */

import { isoTime, parseTime } from "./time.js";

const TRIES = 20;
const YEAR_1 = Date.parse("0001-01-01T00:00:00Z");
const AGAIN = ["busy", "deadline"]; // codes of a node that may answer if it is asked again

export class Refused extends Error {
  constructor(status, body) {
    super(body?.error?.message ?? `the node answered ${status}`);
    this.status = status;
    this.code = body?.error?.code ?? "";
    this.retryAfter = body?.error?.retry_after ?? 0;
  }

  /* The node does not answer, or the store behind it; or the connection broke. */
  get isAway() {
    return this.status === 0 || this.status === STORE_AWAY;
  }
}

export const AWAY = "away";
export const BROKEN = "broken";
const STORE_AWAY = 502; // status

/* Emits `change` when requests begin or end to wait for a busy node; `count` of them do. */
export const waiting = Object.assign(new EventTarget(), { count: 0 });

async function wait(seconds, signal) {
  const count = (by) => {
    waiting.count += by;
    waiting.dispatchEvent(new Event("change"));
  };
  count(1);
  await sleep(seconds, signal).finally(() => count(-1));
}

export async function sleep(seconds, signal) {
  await new Promise((resolve) => {
    setTimeout(resolve, Math.max(100, seconds * 1000));
    signal?.addEventListener("abort", resolve);
  });
  signal?.throwIfAborted();
}

async function request(path, options = {}) {
  const { signal, tries: most = TRIES, ...rest } = options;
  for (let tries = 1; ; tries += 1) {
    const response = await arrived(fetch(path, { cache: "no-store", credentials: "same-origin", signal, ...rest }));
    if (response.ok) return response;
    const refused = new Refused(response.status, await response.json().catch(() => null));
    if (!AGAIN.includes(refused.code) || response.status < 500 || tries === most) throw refused;
    await wait(refused.retryAfter, signal);
  }
}

/* What comes of a connection; Refused where that breaks. */
async function arrived(coming, code = AWAY) {
  try {
    return await coming;
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    throw new Refused(0, { error: { code, message: "no answer" } });
  }
}

async function answer(path, options) {
  return arrived((await request(path, options)).json());
}

function send(path, method, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return answer(path, { method, headers, body: JSON.stringify(body), signal });
}

function address(kind, fields) {
  const texts = Object.entries(fields).filter(([, value]) => value !== undefined);
  return `/${kind}?${new URLSearchParams(texts.map(([name, value]) => [name, String(value)]))}`;
}

/* One page after the other of a query; `from` and `to` in milliseconds. */
export async function* pages(kind, { from, to, ...fields }, signal) {
  let cursor;
  do {
    const path = address(kind, { from: isoTime(from), to: isoTime(to), ...fields, cursor });
    const page = await answer(path, { signal });
    yield page;
    cursor = page.next ?? undefined;
  } while (cursor);
}

/* The joined lists called `name` of all pages, at most `most` items. */
export async function list(kind, name, fields, signal, most = Infinity) {
  const found = [];
  for await (const page of pages(kind, fields, signal)) {
    found.push(...page[name]);
    if (found.length >= most) break;
  }
  return found.slice(0, most);
}

export async function status() {
  return answer("/status");
}

/* When the node's recordings begin, Infinity where there are none; and whether none can be heard yet. */
export async function beginning() {
  // of states, the second one would be read to its end, which can take a year of chunks
  const { value } = await pages("coverage", { from: YEAR_1, to: Date.now(), limit: 2, urls: false }).next();
  const [first, second] = value.intervals;
  if (first.state !== "gap" || first.cause !== "unknown") return { begun: -Infinity, isEmpty: false };
  return { begun: second ? parseTime(first.to) : Infinity, isEmpty: !second || second.state === "recording" };
}

/* Makes a file of the range in the store, with a link to it. */
export function clip(from, to, signal) {
  const id = [1, 2].map(() => Math.random().toString(36).slice(2)).join("");
  return send("/query", "POST", { id, type: "clip", from: isoTime(from), to: isoTime(to), urls: true }, signal);
}

export function audioAddress(from, to, format) {
  return address("audio", { from: isoTime(from), to: isoTime(to), format });
}

export async function audio(from, to, signal) {
  return arrived((await request(audioAddress(from, to, "flac"), { signal })).arrayBuffer(), BROKEN);
}

/* What the node is recording now, as a WAV file without an end. */
export async function live(signal) {
  return request("/live", { signal, tries: 1 });
}

/* One row for each other node that the Ably key can see. */
export async function otherNodes(signal) {
  return (await answer("/nodes", { signal })).nodes;
}

export async function session() {
  return answer("/session");
}

/* Something that the owner orders; gives what came of it. */
export async function act(verb, fields = {}) {
  return (await send(`/${verb}`, "POST", fields)).data;
}

export const logIn = (password) => send("/session", "POST", { password });
export const redeem = (code) => send("/session", "POST", { code });
export const logOut = () => send("/session", "DELETE", {});
