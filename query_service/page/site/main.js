/* Wires the page together: which range is shown, in which zone, and what each control of the whole page does. */

import * as api from "./api.js";
import { Access } from "./access.js";
import { Actions } from "./actions.js";
import { Calendar } from "./calendar.js";
import { levelsTable, save, soundsTable } from "./csv.js";
import { ExactRange } from "./exact.js";
import { Header } from "./header.js";
import { Listening } from "./listen.js";
import { Live } from "./live.js";
import { Loudest } from "./loudest.js";
import { Nodes } from "./nodes.js";
import { guard } from "./problem.js";
import { RangeView } from "./range.js";
import { Selection } from "./selection.js";
import { TEXT } from "./text.js";
import { HOUR, MINUTE, SECOND, Zone, clock, isoTime, timed } from "./time.js";
import { Timeline } from "./timeline.js";

const REFRESH = 5 * SECOND;
const SELDOM = 30 * SECOND; // while the node says by itself when something changes; without that, for the range that is shown
const SETTLE = 150; // milliseconds after the last movement until the node is asked

const $ = (id) => document.getElementById(id);
const own = Intl.DateTimeFormat().resolvedOptions().timeZone;

class Page {
  constructor() {
    this.zones = { node: "UTC", browser: own, UTC: "UTC" };
    this.zone = new Zone("UTC");
    this.access = new Access();
    this.header = new Header(this.zone);
    this.live = new Live(this.zone);
    this.listening = new Listening();
    this.calendar = new Calendar($("calendar"), this.zone);
    this.timeline = new Timeline($("timeline"), this.zone);
    this.range = new RangeView(this.timeline);
    this.exact = new ExactRange();
    this.selection = new Selection(this.timeline);
    this.loudest = new Loudest(this.timeline);
    this.nodes = new Nodes(this.zone);
    this.actions = new Actions(this.timeline, this.zone);
    this.refreshed = this.loaded = 0;
    this.listen();
  }

  async start() {
    await this.redeemCode();
    await guard(() => this.loadSession());
    this.chooseZone("node");
    this.restore();
    this.openLive();
    this.refresh();
    setInterval(() => this.poll(), REFRESH);
  }

  /* A one-time code in the address becomes a session and leaves the address at once. */
  async redeemCode() {
    const given = new URLSearchParams(location.hash.slice(1));
    const code = given.get("code");
    if (!code) return;
    given.delete("code");
    history.replaceState(null, "", `#${given}`);
    await guard(() => api.redeem(code), () => TEXT.codeUsed);
  }

  listen() {
    const { timeline, calendar, live, loudest } = this;
    timeline.addEventListener("view", () => this.settle());
    timeline.addEventListener("selection", ({ detail }) => this.selected(detail));
    calendar.addEventListener("day", ({ detail }) => this.showDay(this.zone.ofDate(detail)));
    this.actions.addEventListener("change", () => Promise.all([this.refresh(), this.settle()]));
    live.addEventListener("chunk", () => this.extended());
    live.addEventListener("state", () => this.refresh());
    this.exact.addEventListener("select", ({ detail }) => this.select(detail));
    loudest.addEventListener("choose", ({ detail }) => this.play(detail));
    loudest.addEventListener("list", () => this.loadView());
    const clicks = {
      earlier: () => timeline.pan(-0.9), later: () => timeline.pan(0.9), "zoom-in": () => timeline.zoom(0.5),
      "zoom-out": () => timeline.zoom(2), "show-now": () => this.show({ from: clock.now() - HOUR, to: clock.now() + MINUTE }),
      "show-yesterday": () => this.showDay(this.zone.startOfDay(clock.now(), -1)),
      "show-day": () => this.showDay(this.zone.startOfDay((timeline.view.from + timeline.view.to) / 2)),
      "levels-csv": () => this.saveTable("levels", levelsTable(timeline.levels, this.zone)),
      "sounds-csv": () => this.saveTable("sounds", soundsTable(timeline.sounds, this.zone)),
    };
    for (const [id, act] of Object.entries(clicks)) $(id).addEventListener("click", act);
    $("zone").addEventListener("change", () => this.chooseZone($("zone").value));
    this.access.addEventListener("change", () => this.loggedIn());
    document.addEventListener("keydown", (event) => this.onKey(event));
    document.addEventListener("visibilitychange", () => this.poll());
    window.addEventListener("hashchange", () => this.restore());
  }

  onKey(event) {
    if (event.target.closest("input, select, dialog, .calendar") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "n") this.loudest.step(1);
    else if (event.key === "p") this.loudest.step(-1);
    else if (event.key === " " && !event.target.closest("button, a, summary")) {
      event.preventDefault();
      this.selection.togglePlay();
    }
  }

  async poll() {
    if (document.hidden) return;
    const now = Date.now();
    if (!this.live.isConnected || now - this.refreshed > SELDOM) await this.refresh();
    if (!this.live.isConnected && now - this.loaded > SELDOM) this.extended();
  }

  async refresh() {
    this.refreshed = Date.now();
    await guard(async () => {
      await this.loadSession();
      const status = this.session.role ? await api.status() : null;
      this.listening.show(this.session, status);
      this.actions.show(this.session, status ?? { recorder: {} });
      if (status) this.header.show(status);
    });
    this.showSetup();
  }

  /* What is missing, and what to do about it. */
  showSetup() {
    const { bucket = true, encrypted = false, role } = this.session ?? {};
    const texts = [bucket ? "" : TEXT.setup.bucket, encrypted ? TEXT.setup.encrypted : "", this.isEmpty ? TEXT.setup.empty : ""];
    $("setup").replaceChildren(...(role ? texts : []).filter(Boolean).map((text) => {
      const item = document.createElement("li");
      item.textContent = text;
      return item;
    }));
    $("setup").hidden = !$("setup").children.length;
  }

  async loadSession() {
    this.session = await api.session();
    this.zones.node = this.session.zone;
    this.access.show(this.session);
    this.nodes.isKnown = Boolean(this.session.role && this.session.nodes);
    this.selection.isOwner = this.session.role === "owner";
    this.loudest.emptyText = this.session.sound_level === 0 ? TEXT.noSoundLevel : undefined;
  }

  chooseZone(kind) {
    const chosen = $("zone");
    chosen.replaceChildren(...Object.entries(this.zones).map(([name, zone]) => {
      const option = document.createElement("option");
      option.value = name;
      option.textContent = `${TEXT.zones[name]}${name === "UTC" ? "" : ` (${zone})`}`;
      return option;
    }));
    chosen.value = kind;
    this.zone = new Zone(this.zones[kind]);
    for (const part of [this.header, this.live, this.calendar, this.timeline, this.nodes, this.actions]) part.zone = this.zone;
    this.loadCalendar();
    this.settle();
    if (this.timeline.selection) this.timeline.select(this.timeline.selection);
  }

  /* The address names what is shown. */
  restore() {
    const given = new URLSearchParams(location.hash.slice(1));
    const [from, to] = ["from", "to"].map((name) => Date.parse(given.get(name)));
    if (from < to) this.show({ from, to });
    else this.showDay(this.zone.startOfDay(clock.now()));
    const selection = { from: Date.parse(given.get("play")), to: Date.parse(given.get("until")) };
    if (selection.from < selection.to) this.timeline.select(selection);
  }

  remember() {
    const { view, selection } = this.timeline;
    const text = (ms) => isoTime(Math.round(ms)).replace("000Z", "Z");
    const fields = { from: text(view.from), to: text(view.to) };
    if (selection) Object.assign(fields, { play: text(selection.from), until: text(selection.to) });
    history.replaceState(null, "", `#${new URLSearchParams(fields)}`);
  }

  showDay(start) {
    this.show({ from: start, to: this.zone.startOfDay(start, 1) });
  }

  show(view) {
    const isCut = this.timeline.show(view);
    $("note").textContent = isCut ? TEXT.cut : "";
    this.settle();
  }

  settle() {
    const { from, to } = this.timeline.view;
    const isDay = from === this.zone.startOfDay(from) && to === this.zone.startOfDay(from, 1);
    $("range-title").textContent = isDay ? this.zone.day(from) : this.zone.range(from, to);
    this.calendar.mark(this.zone.date((from + to) / 2));
    this.exact.show(this.timeline.selection ?? this.timeline.view, this.zone);
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.loadView(), this.loading ? SETTLE : 0);
  }

  openLive() {
    if (this.session?.role && this.session.events) this.live.open();
  }

  /* There is more sound than a moment ago. */
  extended() {
    if (this.range.isCurrent) this.settle();
    if (this.isEmpty) this.loadCalendar();
  }

  async loadView() {
    if (!this.session?.role) return;
    this.loaded = Date.now();
    this.remember();
    this.loading?.abort();
    const { signal } = (this.loading = new AbortController());
    const { view } = this.timeline;
    await guard(() => Promise.all([this.range.load(view, signal), this.loudest.load(view, signal)]));
    if (!signal.aborted) this.loudest.loaded();
  }

  saveTable(kind, text) {
    save(`${this.session.node}-${kind}-${this.zone.date(this.timeline.view.from)}.csv`, text);
  }

  /* Selects a range, and shows it with as much before and after it unless it is visible. */
  select({ from, to }) {
    const { view } = this.timeline;
    if (from < view.from || to > view.to) this.show({ from: 2 * from - to, to: 2 * to - from });
    this.timeline.select({ from, to });
  }

  selected({ selection, isFinal }) {
    if (selection && isFinal) this.remember();
    this.exact.show(selection ?? this.timeline.view, this.zone);
    this.selection.show(selection, isFinal);
  }

  async play(range) {
    this.timeline.select(range);
    await this.selection.togglePlay();
  }

  async loggedIn() {
    await this.refresh();
    this.chooseZone("node");
    this.openLive();
  }

  async loadCalendar() {
    if (!this.session?.role) return;
    const to = this.zone.startOfDay(clock.now(), 1);
    const [from, middle] = [-371, -185].map((days) => this.zone.startOfDay(to, days));
    const load = (span) => api.list("days", "days", { ...span, zone: this.zone.name });
    // in two halves at once: each fits into one page
    const found = await guard(() =>
      Promise.all([load({ from, to: middle }), load({ from: middle, to }), api.beginning()]));
    if (!found) return;
    const [[...days], recent, { begun, isEmpty }] = found;
    days.push(...recent);
    this.range.begun = begun;
    this.isEmpty = isEmpty;
    this.showSetup();
    // the time before the first recording is no gap
    this.calendar.show(days.map(dayOf).map((day) => (day.to <= begun ? { ...day, gaps: 0 } : day)));
  }
}

function dayOf(day) {
  const { recorded = 0, pending = 0, recording = 0 } = day.seconds;
  return { ...timed(day), recorded: (recorded + pending + recording) * SECOND };
}

await new Page().start();
