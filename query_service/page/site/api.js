/* Everything that the page asks of its node. */

import { isoTime } from "./time.js";

const TRIES = 20;

export class Refused extends Error {
  constructor(status, body) {
    super(body?.error?.message ?? `the node answered ${status}`);
    this.status = status;
    this.code = body?.error?.code ?? "";
    this.retryAfter = body?.error?.retry_after ?? 0;
  }
}

export const AWAY = "away";

async function request(path, options = {}) {
  const { signal, ...rest } = options;
  for (let tries = 1; ; tries += 1) {
    let response;
    try {
      response = await fetch(path, { cache: "no-store", credentials: "same-origin", signal, ...rest });
    } catch (problem) {
      if (problem.name === "AbortError") throw problem;
      throw new Refused(0, { error: { code: AWAY, message: "no answer" } });
    }
    if (response.ok) return response;
    const body = await response.json().catch(() => null);
    const refused = new Refused(response.status, body);
    if (response.status !== 503 || refused.code !== "busy" || tries === TRIES) throw refused;
    await new Promise((resolve) => setTimeout(resolve, Math.max(100, refused.retryAfter * 1000)));
    signal?.throwIfAborted();
  }
}

async function send(path, method, body) {
  const headers = { "Content-Type": "application/json" };
  return (await request(path, { method, headers, body: JSON.stringify(body) })).json();
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
    const page = await (await request(path, { signal })).json();
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
  return (await request("/status")).json();
}

/* From the first sound that is kept to the last. */
export async function extent() {
  return (await request("/extent")).json();
}

export function audioAddress(from, to, format) {
  return address("audio", { from: isoTime(from), to: isoTime(to), format });
}

export async function audio(from, to, signal) {
  return (await request(audioAddress(from, to, "flac"), { signal })).arrayBuffer();
}

export async function session() {
  return (await request("/session")).json();
}

/* Something that the owner orders; gives what came of it. */
export async function act(verb, fields = {}) {
  return (await send(`/${verb}`, "POST", fields)).data;
}

export const logIn = (password) => send("/session", "POST", { password });
export const redeem = (code) => send("/session", "POST", { code });
export const logOut = () => send("/session", "DELETE", {});
