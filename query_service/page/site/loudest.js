/* The loudest sounds or minutes of the visible range, one click to hear each. */

import * as api from "./api.js";
import { TEXT, duration, level } from "./text.js";
import { DAY, MINUTE, SECOND, timed } from "./time.js";

const LOUDEST = 50;
const PAD = 2 * SECOND; // heard before and after a sound
const LONGEST = 400 * DAY; // for minutes

const $ = (id) => document.getElementById(id);

/* Emits `choose` with the range to play, and `list` when it needs to be loaded. */
export class Loudest extends EventTarget {
  constructor(timeline) {
    super();
    this.timeline = timeline;
    this.kind = "sounds";
    this.items = [];
    this.mayHear = true;
    $("sounds").addEventListener("click", (event) => this.choose(event.target.closest("button")?.dataset.index));
    for (const kind of ["sounds", "minutes"]) $(`loudest-${kind}`).addEventListener("click", () => this.playLoudest(kind));
  }

  async load({ from, to }, signal) {
    const { kind } = this;
    const current = this.items[this.current]?.from;
    const asked = { from, to, order: "loudest" };
    const [sounds, minutes] = await Promise.all([
      api.list("sounds", "sounds", { ...asked, urls: false }, signal, LOUDEST),
      kind === "minutes" ? this.minutes(asked, signal) : [],
    ]);
    this.timeline.sounds = sounds.map(timed);
    this.timeline.draw();
    this.items = kind === "minutes" ? minutes.map(timed) : this.timeline.sounds;
    const found = this.items.findIndex((each) => each.from === current);
    this.current = found < 0 ? undefined : found;
    this.show();
  }

  minutes({ from, to, order }, signal) {
    const start = Math.floor(from / MINUTE) * MINUTE;
    return api.list("levels", "levels", { from: Math.max(start, to - LONGEST), to, order, step: 60, limit: LOUDEST }, signal);
  }

  show() {
    const isMinutes = this.kind === "minutes";
    $("loudest-sounds").setAttribute("aria-pressed", String(!isMinutes));
    $("loudest-minutes").setAttribute("aria-pressed", String(isMinutes));
    $("no-sounds").hidden = this.items.length > 0;
    $("no-sounds").textContent = isMinutes ? TEXT.noLevels : this.emptyText ?? TEXT.noSounds;
    $("sounds").replaceChildren(...this.items.map((item, index) => this.entry(item, index)));
    this.mark();
  }

  entry({ from, to, laeq, lafmax, unit }, index) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.index = String(index);
    const loudness = this.kind === "minutes" ? `LAeq ${level(laeq, unit)}` : level(lafmax, unit);
    const length = to && this.kind === "sounds" ? `, ${duration(to - from)}` : "";
    button.textContent = `${loudness} · ${this.timeline.zone.dayAndTime(from)}${length}`;
    item.append(button);
    return item;
  }

  /* Lists the sounds or minutes, and plays the loudest one. */
  async playLoudest(kind) {
    this.kind = kind;
    this.current = undefined;
    this.items = [];
    this.wantsFirst = true;
    this.dispatchEvent(new Event("list"));
  }

  /* The list is complete. */
  loaded() {
    if (this.wantsFirst) this.choose(0);
    this.wantsFirst = false;
  }

  /* The next one, or with -1 the previous one. */
  step(by) {
    this.choose((this.current ?? (by > 0 ? -1 : 1)) + by);
  }

  choose(index) {
    const chosen = this.items[Number(index)];
    if (!chosen) return;
    this.current = Number(index);
    this.mark();
    const pad = this.kind === "minutes" ? 0 : PAD;
    const detail = { from: chosen.from - pad, to: (chosen.to ?? chosen.from + 10 * SECOND) + pad };
    this.dispatchEvent(new CustomEvent("choose", { detail }));
  }

  mark() {
    for (const button of $("sounds").querySelectorAll("button")) {
      if (button.dataset.index === String(this.current)) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }
}
