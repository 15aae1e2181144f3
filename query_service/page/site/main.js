/* Wires the page together: what is shown, what is asked for it, and what each control does. */

import * as api from "./api.js";
import { Access } from "./access.js";
import { Actions } from "./actions.js";
import { Calendar } from "./calendar.js";
import { Live } from "./live.js";
import { Player, TooLong, load } from "./player.js";
import { SoundView } from "./spectrogram.js";
import { CAUSES, STATES, TEXT, bytes, duration, level } from "./text.js";
import { DAY, HOUR, MINUTE, SECOND, Zone, isoTime, parseTime } from "./time.js";
import { Timeline } from "./timeline.js";

const POINTS = 600; // of the curves
const STEPS = [1, 2, 5, 10, 30, 60, 300, 900, 3600, 21600, 86400];
const REFRESH = 5 * SECOND;
const SETTLE = 150; // milliseconds after the last movement until the node is asked
const LOUDEST = 50;
const PAD = 2 * SECOND; // heard before and after a sound

const $ = (id) => document.getElementById(id);
const own = Intl.DateTimeFormat().resolvedOptions().timeZone;

class Page {
  constructor() {
    this.zones = { node: "UTC", browser: own, UTC: "UTC" };
    this.zone = new Zone("UTC");
    this.timeline = new Timeline($("timeline"), this.zone);
    this.calendar = new Calendar($("calendar"), this.zone);
    this.player = new Player();
    this.soundView = new SoundView($("sound"));
    this.access = new Access();
    this.actions = new Actions(this.timeline, this.zone);
    this.live = new Live(this.zone);
    this.sounds = [];
    this.listen();
  }

  async start() {
    await this.redeemCode();
    await this.refresh();
    this.chooseZone("node");
    this.restore();
    this.openLive();
    setInterval(() => this.refresh(), REFRESH);
    requestAnimationFrame(() => this.tick());
  }

  /* A one-time code in the address becomes a session and leaves the address at once. */
  async redeemCode() {
    const given = new URLSearchParams(location.hash.slice(1));
    const code = given.get("code");
    if (!code) return;
    given.delete("code");
    history.replaceState(null, "", `#${given}`);
    await this.guard(() => api.redeem(code), () => TEXT.codeUsed);
  }

  listen() {
    const { timeline, calendar, player, live } = this;
    timeline.addEventListener("view", () => this.settle());
    timeline.addEventListener("selection", ({ detail }) => this.selected(detail));
    timeline.addEventListener("hover", ({ detail }) => this.hover(detail));
    timeline.addEventListener("play", () => this.togglePlay());
    calendar.addEventListener("day", ({ detail }) => this.showDay(this.zone.ofDate(detail)));
    player.addEventListener("change", () => this.playing());
    this.actions.addEventListener("change", () => Promise.all([this.refresh(), this.settle()]));
    live.addEventListener("chunk", () => this.extended());
    live.addEventListener("state", () => this.refresh());
    this.soundView.addEventListener("seek", ({ detail }) => player.seek(detail));
    const clicks = {
      earlier: () => timeline.pan(-0.9), later: () => timeline.pan(0.9), "zoom-in": () => timeline.zoom(0.5),
      "zoom-out": () => timeline.zoom(2), "show-now": () => this.show({ from: Date.now() - HOUR, to: Date.now() + MINUTE }),
      "show-day": () => this.showDay(this.zone.startOfDay((timeline.view.from + timeline.view.to) / 2)),
      play: () => this.togglePlay(), copy: () => this.copy(),
    };
    for (const [id, act] of Object.entries(clicks)) $(id).addEventListener("click", act);
    $("zone").addEventListener("change", () => this.chooseZone($("zone").value));
    $("speed").addEventListener("change", () => player.set({ speed: Number($("speed").value) }));
    $("high-pass").addEventListener("change", () => player.set({ highPass: Number($("high-pass").value) }));
    $("gain").addEventListener("change", () => player.set({ gain: 10 ** (Number($("gain").value) / 20) }));
    $("channel").addEventListener("change", () => player.set({ channel: Number($("channel").value) }));
    this.access.addEventListener("change", () => this.loggedIn());
    $("sounds").addEventListener("click", (event) => this.playSound(event.target.closest("button")?.dataset.index));
    document.addEventListener("keydown", (event) => this.onKey(event));
    window.addEventListener("hashchange", () => this.restore());
  }

  onKey(event) {
    if (event.target.closest("input, select, dialog, .calendar") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "n") this.playSound((this.current ?? -1) + 1);
    else if (event.key === "p") this.playSound((this.current ?? 1) - 1);
    else if (event.key === " " && event.target.tagName !== "BUTTON") {
      event.preventDefault();
      this.togglePlay();
    }
  }

  /* Runs `work`; what goes wrong is said on the page. */
  async guard(work, explain = (problem) => problem.message) {
    try {
      const result = await work();
      this.problem("");
      return result;
    } catch (problem) {
      if (problem.name === "AbortError") return undefined;
      if (!(problem instanceof api.Refused)) throw problem;
      this.problem(problem.code === api.AWAY ? TEXT.notReachable : explain(problem));
      return undefined;
    }
  }

  problem(text) {
    $("problem").textContent = text;
    $("problem").hidden = !text;
  }

  async refresh() {
    if (document.hidden && this.session) return;
    await this.guard(async () => {
      this.session = await api.session();
      this.zones.node = this.session.zone;
      this.access.show(this.session);
      if (this.session.role) this.showStatus(await api.status());
    });
  }

  get isOwner() {
    return this.session?.role === "owner";
  }

  showStatus(status) {
    this.actions.show(this.session, status);
    const { recorder, spool, disk_free: free } = status;
    const state = recorder.state === "recording" && recorder.alive
      ? TEXT.recordingSince(this.zone.dayAndTime(whole(parseTime(recorder.since))))
      : TEXT.recorderStates[recorder.alive ? recorder.state : "unknown"];
    const parts = [state];
    if (recorder.until) parts.push(TEXT.until(this.zone.dayAndTime(parseTime(recorder.until))));
    if (spool) parts.push(TEXT.waiting(spool.chunks, bytes(spool.bytes)));
    if (free !== null) parts.push(TEXT.diskFree(bytes(free)));
    $("status").textContent = parts.join(" · ");
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
    this.timeline.zone = this.calendar.zone = this.live.zone = this.actions.zone = this.zone;
    this.loadCalendar();
    this.settle();
  }

  /* The address names what is shown. */
  restore() {
    const given = new URLSearchParams(location.hash.slice(1));
    const [from, to] = ["from", "to"].map((name) => Date.parse(given.get(name)));
    if (from < to) this.show({ from, to });
    else this.showDay(this.zone.startOfDay(Date.now()));
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
    this.timeline.show(view);
    this.settle();
  }

  settle() {
    const { from, to } = this.timeline.view;
    const isDay = from === this.zone.startOfDay(from) && to === this.zone.startOfDay(from, 1);
    $("range-title").textContent = isDay ? this.zone.day(from) : this.zone.range(from, to);
    this.calendar.mark(this.zone.date((from + to) / 2));
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.loadView(), SETTLE);
  }

  openLive() {
    if (this.session?.role && this.session.events) this.live.open();
  }

  /* There is more sound than a moment ago. */
  extended() {
    const now = Date.now();
    if (this.timeline.view.from < now && now < this.timeline.view.to) this.settle();
  }

  async loadView() {
    if (!this.session?.role) return;
    this.remember();
    this.loading?.abort();
    const { signal } = (this.loading = new AbortController());
    const { from, to } = this.timeline.view;
    await this.guard(() => Promise.all([
      this.loadStrip(from, to, signal), this.loadLevels(from, to, signal), this.loadSounds(from, to, signal),
    ]));
  }

  async loadStrip(from, to, signal) {
    const intervals = await api.list("coverage", "intervals", { from, to, urls: false }, signal);
    this.timeline.intervals = intervals.map(timed);
    this.timeline.draw();
    this.showLegend();
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

  async loadSounds(from, to, signal) {
    const sounds = await api.list("sounds", "sounds", { from, to, order: "loudest", urls: false }, signal, LOUDEST);
    this.sounds = sounds.map(timed);
    this.timeline.sounds = this.sounds;
    this.timeline.draw();
    this.current = undefined;
    $("no-sounds").hidden = this.sounds.length > 0;
    $("no-sounds").textContent = TEXT.noSounds;
    $("sounds").replaceChildren(...this.sounds.map((sound, index) => this.soundItem(sound, index)));
  }

  soundItem(sound, index) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.index = String(index);
    const length = sound.to ? `, ${duration(sound.to - sound.from)}` : "";
    button.textContent = `${level(sound.lafmax, sound.unit)} · ${this.zone.dayAndTime(sound.from)}${length}`;
    item.append(button);
    return item;
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
    $("here").textContent = [this.zone.dayAndTime(ms), state + cause, text].filter(Boolean).join(" · ");
  }

  selected({ selection, isFinal }) {
    $("selection").hidden = !selection;
    if (!selection) {
      this.player.stop();
      return;
    }
    const { from, to } = selection;
    $("selection-title").textContent = TEXT.selection(this.zone.dayAndTime(from), this.zone.time(to), duration(to - from));
    if (!isFinal) return;
    this.remember();
    this.player.use(null);
    this.soundView.clear();
    $("sound-problem").textContent = this.isOwner ? "" : TEXT.loginToHear;
    $("owner-actions").hidden = !this.isOwner;
    for (const format of ["flac", "wav"]) $(format).href = api.audioAddress(from, to, format);
    $("command").value = `imhearing fetch --from ${isoTime(from)} --to ${isoTime(to)} -o sound.flac`;
    this.showPlaces();
  }

  showPlaces() {
    const { from, to } = this.timeline.selection;
    const chunks = this.timeline.intervals.filter((each) => each.chunk_id && each.from < to && from < each.to).slice(0, 20);
    $("places").replaceChildren(...chunks.map((chunk) => {
      const line = document.createElement("p");
      const { where } = chunk;
      line.textContent = [this.zone.dayAndTime(chunk.from), chunk.chunk_id, where?.archive, where?.sha256].filter(Boolean).join(" · ");
      return line;
    }));
  }

  async togglePlay() {
    if (this.player.isPlaying) return this.player.pause();
    if (!this.player.sound) await this.loadSelection();
    return this.player.play();
  }

  async loadSelection() {
    const { selection } = this.timeline;
    if (!selection) return;
    $("sound-problem").textContent = TEXT.loading;
    try {
      const sound = await load(selection.from, selection.to);
      this.player.use(sound);
      $("sound-problem").textContent = "";
      this.showChannels(sound.buffer.numberOfChannels);
      const holes = this.timeline.intervals.filter((each) => !["recorded", "pending"].includes(each.state));
      await this.soundView.show(sound, holes.filter((each) => each.from < sound.to && sound.from < each.to));
    } catch (problem) {
      $("sound-problem").textContent = this.explain(problem);
    }
  }

  explain(problem) {
    if (problem instanceof TooLong) return TEXT.tooLong(duration(problem.seconds * SECOND));
    if (!(problem instanceof api.Refused)) throw problem;
    if (problem.status === 401 || problem.status === 403) return TEXT.loginToHear;
    if (problem.code === "encrypted") return TEXT.encrypted;
    return problem.code === api.AWAY ? TEXT.notReachable : problem.message;
  }

  showChannels(count) {
    $("channel-label").hidden = count < 2;
    const names = ["all", ...Array.from({ length: count }, (_, index) => String(index + 1))];
    $("channel").replaceChildren(...names.map((name, index) => new Option(name, String(index - 1))));
    this.player.set({ channel: -1 });
  }

  async playSound(index) {
    const sound = this.sounds[Number(index)];
    if (!sound) return;
    this.current = Number(index);
    for (const button of $("sounds").querySelectorAll("button")) {
      button.setAttribute("aria-current", String(button.dataset.index === String(index)));
    }
    this.timeline.select({ from: sound.from - PAD, to: (sound.to ?? sound.from + 10 * SECOND) + PAD });
    await this.togglePlay();
  }

  playing() {
    $("play").textContent = this.player.isPlaying ? "Pause" : "Play";
  }

  /* Moves the cursors with the sound. */
  tick() {
    const { player, timeline } = this;
    if (player.sound) {
      const seconds = player.now();
      if (player.isPlaying) this.soundView.move(seconds);
      timeline.cursor = player.sound.from + seconds * SECOND;
      $("position").textContent = this.zone.time(timeline.cursor);
      timeline.draw();
    } else timeline.cursor = null;
    requestAnimationFrame(() => this.tick());
  }

  async copy() {
    const field = $("command");
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(field.value);
      $("sound-problem").textContent = TEXT.copied;
    } else {
      field.select(); // plain HTTP at home has no clipboard
      $("sound-problem").textContent = TEXT.selectToCopy;
    }
  }

  async loggedIn() {
    await this.refresh();
    this.chooseZone("node");
    this.openLive();
    if (this.timeline.selection) this.timeline.select(this.timeline.selection);
  }

  async loadCalendar() {
    if (!this.session?.role) return;
    const to = this.zone.startOfDay(Date.now(), 1);
    const from = this.zone.startOfDay(to, -371);
    const found = await this.guard(() =>
      Promise.all([api.list("days", "days", { from, to, zone: this.zone.name }), api.extent()]));
    if (!found) return;
    const [days, { from: first }] = found;
    const begun = first ? parseTime(first) : Infinity;
    // the time before the first sound is no gap
    this.calendar.show(days.map(dayOf).map((day) => (day.to <= begun ? { ...day, gaps: 0 } : day)));
  }
}

function whole(ms) {
  return Math.floor(ms / SECOND) * SECOND;
}

/* The same with its times as numbers. */
function timed(span) {
  return { ...span, from: parseTime(span.from), to: span.to && parseTime(span.to) };
}

function dayOf(day) {
  const { recorded = 0, pending = 0, recording = 0 } = day.seconds;
  return { ...timed(day), recorded: (recorded + pending + recording) * SECOND };
}

await new Page().start();
