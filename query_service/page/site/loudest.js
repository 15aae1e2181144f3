/* The loudest sounds of the visible range, one click to hear each. */

import * as api from "./api.js";
import { TEXT, duration, level } from "./text.js";
import { SECOND, timed } from "./time.js";

const LOUDEST = 50;
const PAD = 2 * SECOND; // heard before and after a sound

const $ = (id) => document.getElementById(id);

/* Emits `choose` with the range to play. */
export class Loudest extends EventTarget {
  constructor(timeline) {
    super();
    this.timeline = timeline;
    this.sounds = [];
    $("sounds").addEventListener("click", (event) => this.choose(event.target.closest("button")?.dataset.index));
  }

  async load({ from, to }, signal) {
    const sounds = await api.list("sounds", "sounds", { from, to, order: "loudest", urls: false }, signal, LOUDEST);
    this.sounds = sounds.map(timed);
    this.timeline.sounds = this.sounds;
    this.timeline.draw();
    this.current = undefined;
    $("no-sounds").hidden = this.sounds.length > 0;
    $("no-sounds").textContent = TEXT.noSounds;
    $("sounds").replaceChildren(...this.sounds.map((sound, index) => this.item(sound, index)));
  }

  item(sound, index) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.index = String(index);
    const length = sound.to ? `, ${duration(sound.to - sound.from)}` : "";
    button.textContent = `${level(sound.lafmax, sound.unit)} · ${this.timeline.zone.dayAndTime(sound.from)}${length}`;
    item.append(button);
    return item;
  }

  /* The next one, or with -1 the previous one. */
  step(by) {
    this.choose((this.current ?? (by > 0 ? -1 : 1)) + by);
  }

  choose(index) {
    const sound = this.sounds[Number(index)];
    if (!sound) return;
    this.current = Number(index);
    for (const button of $("sounds").querySelectorAll("button")) {
      button.setAttribute("aria-current", String(button.dataset.index === String(index)));
    }
    const detail = { from: sound.from - PAD, to: (sound.to ?? sound.from + 10 * SECOND) + PAD };
    this.dispatchEvent(new CustomEvent("choose", { detail }));
  }
}
