/* The visible range: asks the node for its states and levels, page by page, and says what the colours mean. */

import * as api from "./api.js";
import { CAUSES, STATES, TEXT, duration } from "./text.js";
import { DAY, SECOND, clock, timed } from "./time.js";

const POINTS = 600; // of the curves
const STEPS = [1, 2, 5, 10, 30, 60, 300, 900, 3600, 21600, 86400];
const DETAILED = 10 * DAY; // longer ranges are shown by the day, from sums that the node keeps
const ROWS = 200; // of the table

const $ = (id) => document.getElementById(id);

export class RangeView {
  constructor(timeline) {
    this.timeline = timeline;
    this.start = -Infinity; // of all recordings
    timeline.addEventListener("hover", ({ detail }) => this.hover(detail));
    $("as-table").addEventListener("toggle", () => this.showTable());
  }

  /* Asks for all of the range that the timeline draws, and shows what has come meanwhile. */
  async load({ from, to }, signal) {
    this.parts = { states: 0, levels: 0 };
    this.showProgress();
    try {
      if (to - from > DETAILED) await this.loadDays(from, to, signal);
      else await Promise.all([this.loadStates(from, to, signal), this.loadLevels(from, to, signal)]);
    } finally {
      if (!signal.aborted) $("progress").textContent = "";
    }
  }

  async loadStates(from, to, signal) {
    const found = [];
    for await (const page of api.pages("states", { from, to, urls: false }, signal)) {
      for (const stretch of page.states.map(timed)) join(found, stretch);
      this.showStates(found, from);
      this.reached("states", (found.at(-1).to - from) / (to - from));
    }
  }

  async loadLevels(from, to, signal) {
    const step = STEPS.find((each) => each >= (to - from) / SECOND / POINTS) ?? STEPS.at(-1);
    const start = Math.floor(from / SECOND / step) * step * SECOND;
    const found = [];
    for await (const page of api.pages("levels", { from: start, to, step }, signal)) {
      found.push(...page.levels.map(timed));
      this.showLevels(found, step);
      if (found.length) this.reached("levels", (found.at(-1).to - from) / (to - from));
    }
  }

  async loadDays(from, to, signal) {
    const found = [];
    for await (const page of api.pages("days", { from, to, zone: this.timeline.zone.name }, signal)) {
      found.push(...page.days.map(timed));
      this.showStates(found.map(dayStates), from);
      this.showLevels(found.flatMap(dayLevels), DAY / SECOND);
    }
  }

  showStates(intervals, from) {
    this.shown = [intervals, from];
    const [first, ...others] = intervals;
    const isBefore = first?.state === "gap" && first.cause === "unknown" && first.from <= from && first.to <= this.start;
    this.timeline.intervals = isBefore ? [{ ...first, state: "before", cause: undefined }, ...others] : [...intervals];
    this.timeline.draw();
    this.showLegend();
    this.showTable();
  }

  showLevels(levels, step) {
    this.timeline.levels = levels;
    this.step = step;
    this.timeline.draw();
    this.showLegend();
  }

  reached(part, share) {
    this.parts[part] = Math.min(1, Math.max(0, share));
    this.showProgress();
  }

  showProgress() {
    const share = (this.parts.states + this.parts.levels) / 2;
    $("progress").textContent = TEXT.progress(Math.floor(share * 100));
  }

  showLegend() {
    const { intervals, levels } = this.timeline;
    const states = new Set(intervals.flatMap((each) => (each.shares ? Object.keys(each.shares) : [each.state])));
    const items = [...states].map((state) => [state, STATES[state]]);
    for (const unit of new Set(levels.map((each) => each.unit).filter(Boolean))) {
      const curves = ["lafmax", "laeq", "l90"].filter((name) => levels.some((each) => each[name] !== null && each.unit === unit));
      for (const name of curves) items.push([name, TEXT.curve(name, unit, duration(this.step * SECOND))]);
    }
    $("legend").replaceChildren(...items.map(([color, text]) => {
      const item = document.createElement("li");
      const patch = document.createElement("span");
      patch.style.background = `var(--${color})`;
      item.append(patch, text);
      return item;
    }));
  }

  /* The strip in words: for a screen reader, and on paper. */
  showTable() {
    if (!$("as-table").open) return;
    const { intervals, zone } = this.timeline;
    const rows = intervals.slice(0, ROWS).map((each) =>
      [zone.dayAndTime(each.from), duration(each.to - each.from), inWords(each)]);
    $("stretches").tBodies[0].replaceChildren(...rows.map((texts) => {
      const row = document.createElement("tr");
      row.append(...texts.map((text) => {
        const cell = document.createElement("td");
        cell.textContent = text;
        return cell;
      }));
      return row;
    }));
    $("more-stretches").textContent = intervals.length > ROWS ? TEXT.more(intervals.length - ROWS) : "";
  }

  hover(ms) {
    const { interval, level: text } = this.timeline.at(ms);
    $("here").textContent = [this.timeline.zone.dayAndTime(ms), interval ? inWords(interval) : "", text].filter(Boolean).join(" · ");
  }

  /* Whether now is visible. */
  get isCurrent() {
    const { from, to } = this.timeline.view;
    return from < clock.now() && clock.now() < to;
  }

  /* When the node's recordings begin: before that, nothing is missing. */
  set begun(ms) {
    this.start = ms;
    if (this.shown) this.showStates(...this.shown);
  }
}

function inWords({ state, cause, shares, to, from }) {
  if (shares) return Object.entries(shares).map(([name, share]) => `${STATES[name]} ${duration(share * (to - from))}`).join(", ");
  return STATES[state] + (cause ? ` (${CAUSES[cause] ?? cause})` : "");
}

/* Pages cut stretches. */
function join(found, stretch) {
  const last = found.at(-1);
  if (last && last.to === stretch.from && last.state === stretch.state && last.cause === stretch.cause) last.to = stretch.to;
  else found.push(stretch);
}

/* A day as one interval: which share of it was in which state. */
function dayStates({ from, to, seconds }) {
  const sums = Object.entries(seconds).map(([state, value]) =>
    [state, typeof value === "number" ? value : Object.values(value).reduce((sum, each) => sum + each, 0)]);
  const shares = Object.fromEntries(sums.filter(([, sum]) => sum).map(([state, sum]) => [state, (sum * SECOND) / (to - from)]));
  const [only, ...others] = Object.keys(shares);
  return others.length ? { from, to, state: "mixed", shares } : { from, to, state: only ?? "gap" };
}

function dayLevels({ from, to, levels }) {
  return levels.map(({ unit, laeq }) => ({ from, to, unit, laeq, lafmax: null, l90: null }));
}
