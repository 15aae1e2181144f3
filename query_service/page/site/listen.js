/* Live listening: plays what the node is recording now, a second or two later, piece by piece. */

import * as api from "./api.js";
import { TEXT } from "./text.js";

const LEAD = 0.4; // seconds from the arrival of a piece until it is heard, so that the next one arrives in time
const MOST_LEAD = 2; // what came late in a heap is left out
const HEADER = 44; // bytes of the WAV stream
const TRIES = 15; // a second apart: a recorder that restarts, or records in another format, is waited for
const AGAIN = 1000;

const $ = (id) => document.getElementById(id);

/* The format of a WAV stream, from its header. */
export function wavFormat(header) {
  const view = new DataView(header.buffer, header.byteOffset, HEADER);
  return { channels: view.getUint16(22, true), rate: view.getUint32(24, true), bits: view.getUint16(34, true) };
}

/* Whole frames of 16 or 24 bits as an AudioBuffer. */
export function decoded(data, { channels, rate, bits }) {
  const width = bits / 8;
  const frames = data.length / width / channels;
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const buffer = new AudioBuffer({ length: frames, numberOfChannels: channels, sampleRate: rate });
  for (let channel = 0; channel < channels; channel += 1) {
    const samples = buffer.getChannelData(channel);
    for (let frame = 0; frame < frames; frame += 1) {
      const place = (frame * channels + channel) * width;
      samples[frame] = width === 2
        ? view.getInt16(place, true) / 32768
        : (view.getUint8(place) | (view.getInt16(place + 1, true) << 8)) / 8388608;
    }
  }
  return buffer;
}

export class Listening {
  constructor() {
    this.stopping = null; // of what is heard now
    this.sources = new Set();
    $("listen").addEventListener("click", () => (this.stopping ? this.stop() : this.start()));
  }

  /* `session`: who is looking; `status`: of the node, if it told it. */
  show(session, status) {
    const mayHear = session.live && session.role === "owner";
    $("listening").hidden = !session.live;
    $("listen").hidden = !mayHear;
    if (session.live) $("live").hidden = false;
    if (!mayHear && this.stopping) this.stop();
    if (!status) return;
    const count = status.listeners ?? 0;
    $("listeners").textContent = TEXT.listeners(count);
    this.recorder = status.recorder;
    if (this.recorder.state === "paused" && this.stopping) this.stop(TEXT.recorderStates.paused);
  }

  stop(why = "") {
    this.stopping?.abort();
    this.stopping = null;
    this.silence();
    this.context?.close();
    this.context = null;
    this.say(why);
  }

  say(text) {
    $("listen-problem").textContent = text;
    $("listen").textContent = this.stopping ? TEXT.stopListening : TEXT.listen;
    $("listen").setAttribute("aria-pressed", String(this.stopping !== null));
  }

  async start() {
    const stopping = (this.stopping = new AbortController());
    this.say(TEXT.listenBegins);
    let hasHeard = false;
    for (let tries = 1; this.stopping === stopping; tries += 1) {
      try {
        const response = await api.live(stopping.signal);
        hasHeard = true;
        tries = 0;
        await this.hear(response, stopping.signal);
      } catch (problem) {
        if (this.stopping !== stopping) return;
        const isGone = problem instanceof api.Refused;
        const mayReturn = isGone ? hasHeard && [0, 409].includes(problem.status) : hasHeard;
        if (!mayReturn || tries >= TRIES || this.recorder?.state === "paused") {
          this.stop(isGone ? this.explain(problem) : TEXT.listenEnded);
          return;
        }
      }
      this.silence();
      this.say(TEXT.listenWaits);
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
    }
  }

  explain(problem) {
    if (problem.code === api.AWAY) return TEXT.notReachable;
    if (problem.code === "encrypted") return TEXT.listenEncrypted;
    if (problem.status === 503) return TEXT.listenFull;
    if (problem.status !== 409) return TEXT.failed(problem.message);
    const state = this.recorder?.state ?? "unknown";
    return state === "recording" ? TEXT.recorderStates.unknown : TEXT.recorderStates[state];
  }

  /* Plays one stream to its end. */
  async hear(response, signal) {
    const reader = response.body.getReader();
    let data = new Uint8Array(0);
    let format = null;
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const joined = new Uint8Array(data.length + value.length);
      joined.set(data);
      joined.set(value, data.length);
      data = joined;
      if (!format) {
        if (data.length < HEADER) continue;
        format = wavFormat(data);
        data = data.subarray(HEADER);
        this.open(format.rate);
      }
      const frame = (format.bits / 8) * format.channels;
      const whole = data.length - (data.length % frame);
      const late = Math.max(0, whole - Math.round(MOST_LEAD * format.rate) * frame);
      if (whole && !signal.aborted) this.play(decoded(data.subarray(late, whole), format));
      data = data.slice(whole);
    }
  }

  /* A context of the sound's own rate: else each piece would be resampled by itself. */
  open(rate) {
    if (this.context?.sampleRate !== rate) {
      this.context?.close();
      try {
        this.context = new AudioContext({ sampleRate: rate });
      } catch {
        this.context = new AudioContext();
      }
    }
    this.context.resume();
    this.next = 0;
    this.say(TEXT.listenNow);
  }

  play(buffer) {
    const now = this.context.currentTime;
    if (this.next > now + MOST_LEAD) this.silence();
    if (this.next < now) this.next = now + LEAD;
    const source = new AudioBufferSourceNode(this.context, { buffer });
    source.connect(this.context.destination);
    source.addEventListener("ended", () => this.sources.delete(source));
    this.sources.add(source);
    source.start(this.next);
    this.next += buffer.duration;
  }

  /* Nothing that has arrived is heard any more. */
  silence() {
    for (const source of this.sources) source.stop();
    this.sources.clear();
    this.next = 0;
  }
}
