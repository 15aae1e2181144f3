/* The timeline: a strip of states above level curves and sound marks on one time axis, and a selection.

It shows what it is given, and emits `view` when the visible range and `selection` when the selected one changes. */

import { DAY, HOUR, MINUTE, SECOND } from "./time.js";
import { TEXT, level } from "./text.js";

const STRIP = 26;
const CURVES = 190;
const MARKS = 16;
const AXIS = 22;
const HEIGHT = STRIP + CURVES + MARKS + AXIS;
const LEFT = 46;
const RIGHT = 8;
const SHORTEST = SECOND;
const LONGEST = 366 * DAY;
const EARLIEST = Date.UTC(1900, 0); // of what can be shown
const LATEST = Date.UTC(3000, 0);
const GRAB = 8; // pixels around an edge of the selection
const TICKS = [
  ...[1, 2, 5, 10, 15, 30].map((count) => count * SECOND), ...[1, 2, 5, 10, 15, 30].map((count) => count * MINUTE),
  ...[1, 2, 3, 6, 12].map((count) => count * HOUR), ...[1, 2, 7, 14, 30, 61, 122].map((count) => count * DAY),
];
const SERIES = ["lafmax", "laeq", "l90"];

export class Timeline extends EventTarget {
  constructor(canvas, zone) {
    super();
    this.canvas = canvas;
    this.zone = zone;
    this.view = { from: 0, to: DAY };
    this.selection = null;
    this.intervals = [];
    this.levels = [];
    this.sounds = [];
    this.cursor = null;
    this.pointers = new Map();
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    matchMedia("print").addEventListener("change", () => this.paint()); // at once: paper is white
    this.listen();
  }

  /* Shows that range, around its middle if it is too short; returns whether it was longer than what can be shown, the end
  of which is shown then. */
  show({ from, to }) {
    const length = Math.min(LONGEST, Math.max(SHORTEST, to - from));
    const wanted = to - from > LONGEST ? to - length : (from + to - length) / 2;
    const start = Math.min(LATEST - length, Math.max(EARLIEST, wanted));
    this.view = { from: start, to: start + length };
    this.draw();
    return to - from > LONGEST;
  }

  select(selection, isFinal = true) {
    // to whole milliseconds, as in the address
    const [from, to] = [Math.round(selection?.from), Math.round(selection?.to)];
    this.selection = from < to ? { from, to } : null;
    this.draw();
    this.dispatchEvent(new CustomEvent("selection", { detail: { selection: this.selection, isFinal } }));
  }

  /* Calls back at the next frame, however often it is called until then. */
  draw() {
    if (this.isDrawing) return;
    this.isDrawing = true;
    requestAnimationFrame(() => {
      this.isDrawing = false;
      this.paint();
    });
  }

  x(ms) {
    return LEFT + ((ms - this.view.from) / (this.view.to - this.view.from)) * (this.width - LEFT - RIGHT);
  }

  time(x) {
    return this.view.from + ((x - LEFT) / (this.width - LEFT - RIGHT)) * (this.view.to - this.view.from);
  }

  paint() {
    const { canvas } = this;
    const ratio = window.devicePixelRatio;
    this.width = canvas.clientWidth;
    if (!this.width) return;
    canvas.width = this.width * ratio;
    canvas.height = HEIGHT * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const style = getComputedStyle(canvas);
    this.color = (name) => style.getPropertyValue(`--${name}`);
    pen.font = `12px ${style.fontFamily}`;
    pen.textBaseline = "middle";
    this.paintAxis(pen);
    this.paintStrip(pen);
    this.paintCurves(pen);
    this.paintSounds(pen);
    this.paintSelection(pen);
    canvas.setAttribute("aria-label", TEXT.timelineLabel(this.zone.dayAndTime(this.view.from), this.zone.dayAndTime(this.view.to)));
  }

  paintAxis(pen) {
    const least = ((this.view.to - this.view.from) / (this.width - LEFT - RIGHT)) * 84;
    const step = TICKS.find((tick) => tick >= least) ?? TICKS.at(-1);
    pen.strokeStyle = this.color("grid");
    pen.fillStyle = this.color("text");
    pen.textAlign = "center";
    for (let tick = this.firstTick(step); tick < this.view.to; tick = this.nextTick(tick, step)) {
      const x = Math.round(this.x(tick)) + 0.5;
      pen.beginPath();
      pen.moveTo(x, STRIP);
      pen.lineTo(x, HEIGHT - AXIS);
      pen.stroke();
      pen.fillText(this.tickText(tick, step), x, HEIGHT - AXIS / 2);
    }
  }

  /* Ticks stand at round times of the zone's clocks, in every hour of a day of 23 or 25. */
  firstTick(step) {
    const start = this.zone.startOfDay(this.view.from);
    if (step >= DAY) return start < this.view.from ? this.zone.startOfDay(this.view.from, 1) : start;
    return start + Math.ceil((this.view.from - start) / step) * step;
  }

  nextTick(tick, step) {
    if (step >= DAY) return this.zone.startOfDay(tick + HOUR, Math.round(step / DAY));
    const next = tick + step;
    const midnight = this.zone.startOfDay(tick, 1);
    return next > midnight ? midnight : next;
  }

  tickText(tick, step) {
    if (step >= DAY) return this.zone.format(tick, { month: "short", day: "numeric" });
    if (tick === this.zone.startOfDay(tick)) return this.zone.format(tick, { weekday: "short", day: "numeric" });
    const seconds = step < MINUTE ? { second: "2-digit" } : {};
    return this.zone.format(tick, { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...seconds }) + this.zone.repeated(tick);
  }

  paintStrip(pen) {
    for (const interval of runs(this.intervals)) {
      const [from, to] = [Math.max(LEFT, this.x(interval.from)), Math.min(this.width - RIGHT, this.x(interval.to))];
      if (to <= from) continue;
      let bottom = STRIP - 4;
      for (const [state, share] of Object.entries(interval.shares ?? { [interval.state]: 1 })) {
        const height = share * (STRIP - 4);
        pen.fillStyle = this.color(state);
        pen.fillRect(from, bottom - height, Math.max(1, to - from), height); // a gap of an instant is seen, too
        if (state === "gap" || state === "expired") this.hatch(pen, from, to, bottom - height, height);
        bottom -= height;
      }
    }
  }

  /* So that states can be told apart without colours. */
  hatch(pen, from, to, top, height) {
    pen.save();
    pen.beginPath();
    pen.rect(from, top, to - from, height);
    pen.clip();
    pen.strokeStyle = this.color("hatch");
    pen.beginPath();
    for (let x = from - STRIP - (from % 7); x < to; x += 7) {
      pen.moveTo(x, STRIP);
      pen.lineTo(x + STRIP, 0);
    }
    pen.stroke();
    pen.restore();
  }

  paintCurves(pen) {
    const { levels } = this;
    const units = [...new Set(levels.map((step) => step.unit))].filter(Boolean);
    const values = levels.flatMap((step) => SERIES.map((name) => step[name])).filter((value) => value !== null);
    pen.textAlign = "right";
    pen.fillStyle = this.color("text");
    if (!values.length) return;
    const low = Math.floor((Math.min(...values) - 2) / 10) * 10;
    const high = Math.ceil((Math.max(...values) + 2) / 10) * 10;
    const y = (value) => STRIP + ((high - value) / (high - low)) * CURVES;
    pen.strokeStyle = this.color("grid");
    for (let value = low; value <= high; value += 10) {
      pen.beginPath();
      pen.moveTo(LEFT, Math.round(y(value)) + 0.5);
      pen.lineTo(this.width - RIGHT, Math.round(y(value)) + 0.5);
      pen.stroke();
      pen.fillText(String(value), LEFT - 6, Math.max(STRIP + 6, y(value)));
    }
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, STRIP, this.width - LEFT - RIGHT, CURVES);
    pen.clip();
    // levels of different units share no curve
    for (const unit of units) for (const name of SERIES) this.paintCurve(pen, levels, unit, name, y);
    pen.restore();
  }

  paintCurve(pen, levels, unit, name, y) {
    pen.strokeStyle = this.color(name);
    pen.lineWidth = name === "laeq" ? 1.6 : 1;
    pen.setLineDash(name === "l90" ? [4, 2] : []);
    pen.beginPath();
    let reached = null;
    for (const step of levels) {
      if (step.unit !== unit || step[name] === null) continue;
      const x = this.x((step.from + step.to) / 2);
      if (step.from === reached) pen.lineTo(x, y(step[name]));
      else {
        pen.moveTo(this.x(step.from), y(step[name]));
        pen.lineTo(x, y(step[name]));
      }
      reached = step.to;
    }
    pen.stroke();
    pen.setLineDash([]);
    pen.lineWidth = 1;
  }

  paintSounds(pen) {
    pen.fillStyle = this.color("sound");
    for (const sound of this.sounds) {
      const x = this.x(sound.from);
      if (x < LEFT || x > this.width - RIGHT) continue;
      pen.beginPath();
      pen.moveTo(x, STRIP + CURVES + 2);
      pen.lineTo(x - 4, STRIP + CURVES + MARKS - 3);
      pen.lineTo(x + 4, STRIP + CURVES + MARKS - 3);
      pen.fill();
    }
  }

  paintSelection(pen) {
    if (this.selection) {
      const [from, to] = [this.x(this.selection.from), this.x(this.selection.to)];
      pen.fillStyle = this.color("selected");
      pen.fillRect(from, 0, Math.max(2, to - from), HEIGHT - AXIS);
    }
    if (this.cursor !== null) {
      pen.strokeStyle = this.color("cursor");
      pen.beginPath();
      pen.moveTo(this.x(this.cursor), 0);
      pen.lineTo(this.x(this.cursor), HEIGHT - AXIS);
      pen.stroke();
    }
  }

  /* What stands at that instant, in words. */
  at(ms) {
    const step = this.levels.find((each) => each.from <= ms && ms < each.to);
    const interval = this.intervals.find((each) => each.from <= ms && ms < each.to);
    return { interval, level: step ? level(step.laeq, step.unit) : "" };
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.onKey(event));
    canvas.addEventListener("pointerdown", (event) => this.onDown(event));
    canvas.addEventListener("pointermove", (event) => this.onMove(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.onUp(event));
    canvas.addEventListener("dblclick", (event) => this.zoom(0.25, this.time(event.offsetX)));
  }

  moved(view) {
    this.show(view);
    this.dispatchEvent(new CustomEvent("view", { detail: this.view }));
  }

  zoom(factor, around = (this.view.from + this.view.to) / 2) {
    this.moved({ from: around - (around - this.view.from) * factor, to: around + (this.view.to - around) * factor });
  }

  pan(share) {
    const by = (this.view.to - this.view.from) * share;
    this.moved({ from: this.view.from + by, to: this.view.to + by });
  }

  onWheel(event) {
    event.preventDefault();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) {
      this.pan((event.deltaX || event.deltaY) / this.width);
    } else this.zoom(Math.exp(Math.max(-1, Math.min(1, event.deltaY / 300))), this.time(event.offsetX));
  }

  onKey(event) {
    const step = (this.view.to - this.view.from) / 100;
    const sign = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (sign && event.shiftKey) this.extend(sign * step);
    else if (sign) this.pan(sign / 10);
    else if (event.key === "+" || event.key === "=") this.zoom(0.5, this.middle());
    else if (event.key === "-") this.zoom(2, this.middle());
    else if (event.key === "Escape") this.select(null);
    else if (event.key === "Enter") this.dispatchEvent(new Event("play"));
    else return;
    event.preventDefault();
  }

  middle() {
    return this.selection ? (this.selection.from + this.selection.to) / 2 : undefined;
  }

  extend(by) {
    const middle = (this.view.from + this.view.to) / 2;
    const { from, to } = this.selection ?? { from: middle, to: middle };
    this.select(by > 0 ? { from, to: to + by } : { from: from + by, to });
  }

  onDown(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus({ preventScroll: true });
    this.pointers.set(event.pointerId, event.offsetX);
    if (this.pointers.size > 1) this.drag = { kind: "pinch" };
    else if (event.pointerType === "touch" && !this.edgeAt(event.offsetX)) {
      this.drag = { kind: "pan", x: event.offsetX, view: this.view, isTap: true };
    } else this.drag = { kind: "select", fixed: this.edgeAt(event.offsetX)?.other ?? this.time(event.offsetX) };
  }

  edgeAt(x) {
    if (!this.selection) return null;
    const { from, to } = this.selection;
    if (Math.abs(x - this.x(from)) < GRAB) return { other: to };
    return Math.abs(x - this.x(to)) < GRAB ? { other: from } : null;
  }

  onMove(event) {
    if (!this.pointers.has(event.pointerId)) {
      this.dispatchEvent(new CustomEvent("hover", { detail: this.time(event.offsetX) }));
      return;
    }
    const before = [...this.pointers.values()];
    this.pointers.set(event.pointerId, event.offsetX);
    if (this.drag.kind === "pinch") this.pinch(before, [...this.pointers.values()]);
    else if (this.drag.kind === "pan") this.drag = this.panned(event.offsetX);
    else this.select(this.ordered(this.drag.fixed, this.time(event.offsetX)), false);
  }

  pinch(before, now) {
    if (now.length !== 2) return;
    const [was, is] = [Math.abs(before[0] - before[1]), Math.abs(now[0] - now[1])];
    if (was > 4 && is > 4) this.zoom(was / is, this.time((now[0] + now[1]) / 2));
  }

  panned(x) {
    const { drag } = this;
    const by = ((drag.x - x) / (this.width - LEFT - RIGHT)) * (drag.view.to - drag.view.from);
    this.moved({ from: drag.view.from + by, to: drag.view.to + by });
    return { ...drag, isTap: drag.isTap && Math.abs(drag.x - x) < GRAB };
  }

  ordered(one, other) {
    return { from: Math.min(one, other), to: Math.max(one, other) };
  }

  onUp(event) {
    if (!this.pointers.delete(event.pointerId) || this.pointers.size) return;
    if (this.drag.kind === "select") this.select(this.ordered(this.drag.fixed, this.time(event.offsetX)));
    else if (this.drag.isTap) {
      const [at, length] = [this.time(event.offsetX), (this.view.to - this.view.from) / 20];
      this.select({ from: at - length / 2, to: at + length / 2 });
    }
    this.drag = null;
  }
}

/* Neighbours of the same state as one, whatever their cause. */
function runs(intervals) {
  const found = [];
  for (const { from, to, state, shares } of intervals) {
    const last = found.at(-1);
    if (last && !shares && last.state === state && last.to === from) last.to = to;
    else found.push({ from, to, state, shares });
  }
  return found;
}
