/* The visible range: asks the node for its states, levels and sounds, and says what the colours mean. */

import * as api from "./api.js";
import { CAUSES, STATES, TEXT, duration } from "./text.js";
import { SECOND, timed } from "./time.js";

const POINTS = 600; // of the curves
const STEPS = [1, 2, 5, 10, 30, 60, 300, 900, 3600, 21600, 86400];

const $ = (id) => document.getElementById(id);

export class RangeView {
  constructor(timeline) {
    this.timeline = timeline;
    timeline.addEventListener("hover", ({ detail }) => this.hover(detail));
  }

  /* Asks for all of [from, to) that the timeline draws. */
  async load({ from, to }, signal) {
    await Promise.all([this.loadStrip(from, to, signal), this.loadLevels(from, to, signal)]);
  }

  async loadStrip(from, to, signal) {
    const found = [];
    for await (const page of api.pages("coverage", { from, to, urls: false }, signal)) {
      found.push(...page.intervals.map(timed));
      this.timeline.intervals = found;
      this.timeline.draw();
      this.showLegend();
    }
  }

  async loadLevels(from, to, signal) {
    const step = STEPS.find((each) => each >= (to - from) / SECOND / POINTS) ?? STEPS.at(-1);
    const start = Math.floor(from / SECOND / step) * step * SECOND;
    const levels = await api.list("levels", "levels", { from: start, to, step }, signal);
    this.timeline.levels = levels.map(timed);
    this.step = step;
    this.timeline.draw();
    this.showLegend();
  }

  showLegend() {
    const states = [...new Set(this.timeline.intervals.map((each) => each.state))];
    const units = [...new Set(this.timeline.levels.map((each) => each.unit))].filter(Boolean);
    const items = states.map((state) => [state, STATES[state]]);
    for (const unit of units) {
      const text = `${TEXT.units[unit]}, ${TEXT.step(duration(this.step * SECOND))}`;
      items.push(["lafmax", `${TEXT.curve.lafmax} ${text}`], ["laeq", TEXT.curve.laeq], ["l90", TEXT.curve.l90]);
    }
    $("legend").replaceChildren(...items.map(([color, text]) => {
      const item = document.createElement("li");
      const patch = document.createElement("span");
      patch.style.background = `var(--${color})`;
      item.append(patch, text);
      return item;
    }));
  }

  hover(ms) {
    const { interval, level: text } = this.timeline.at(ms);
    const state = interval ? STATES[interval.state] : "";
    const cause = interval?.cause ? ` (${CAUSES[interval.cause] ?? interval.cause})` : "";
    $("here").textContent = [this.timeline.zone.dayAndTime(ms), state + cause, text].filter(Boolean).join(" · ");
  }
}
