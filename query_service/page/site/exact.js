/* The selection by its clock times: typed, or picked where a browser has pickers; to the second. */

import { TEXT } from "./text.js";
import { SECOND } from "./time.js";

const $ = (id) => document.getElementById(id);

/* Emits `select` with a range. */
export class ExactRange extends EventTarget {
  constructor() {
    super();
    for (const [id, text] of Object.entries(TEXT.exact)) $(id).textContent = text;
    $("exact").addEventListener("submit", (event) => this.submit(event));
  }

  /* Fills the fields with a range, in that zone. */
  show({ from, to }, zone) {
    const key = [from, to, zone.name].join();
    if (this.key === key) return; // what is being typed stays
    this.key = key;
    this.zone = zone;
    this.shown = Object.entries({ from: Math.floor(from / SECOND) * SECOND, to: Math.ceil(to / SECOND) * SECOND });
    for (const [name, ms] of this.shown) {
      $(`exact-${name}`).value = zone.iso(ms).slice(0, 19);
      $(`exact-${name}`).defaultValue = $(`exact-${name}`).value;
    }
    $("exact-problem").textContent = "";
  }

  submit(event) {
    event.preventDefault();
    const [from, to] = this.shown.map(([name, ms]) => this.instant($(`exact-${name}`), ms, name === "to"));
    const isRange = from < to;
    $("exact-problem").textContent = isRange ? "" : TEXT.noRange(from === undefined || to === undefined);
    if (isRange) this.dispatchEvent(new CustomEvent("select", { detail: { from, to } }));
  }

  /* What a field stands for. Of a time that occurs twice when clocks are set back, what makes the range longest; undefined if
  there is no such time. */
  instant({ value, defaultValue }, ms, isEnd) {
    if (value === defaultValue) return ms;
    const found = this.zone.ofLocal(value);
    return isEnd ? found.at(-1) : found[0];
  }
}
