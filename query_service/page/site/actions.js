/* What the owner may order: pause and resume, archive, rotate, keep for ever, forget. Emits `change` once something did. */

import * as api from "./api.js";
import { TEXT } from "./text.js";
import { HOUR, MINUTE, SECOND, isoTime, parseTime } from "./time.js";

const POLL = SECOND; // between questions how far an order to erase has come
const LENGTHS = [15 * MINUTE, HOUR, 4 * HOUR, 12 * HOUR];

const $ = (id) => document.getElementById(id);

export class Actions extends EventTarget {
  constructor(timeline, zone) {
    super();
    this.timeline = timeline;
    this.held = { holds: [], omitted: 0 };
    this.zone = zone;
    for (const [id, text] of Object.entries(TEXT.actions)) $(id).textContent = text;
    for (const id of ["archive", "rotate", "resume"]) $(id).addEventListener("click", () => this.order(id));
    $("pause").addEventListener("click", () => this.openPause());
    $("keep").addEventListener("click", () => this.hold(this.timeline.selection));
    $("forget").addEventListener("click", () => this.openForget());
    $("confirmation").addEventListener("input", () => this.checkConfirmation());
    $("pause-form").addEventListener("submit", () => this.pause(Number($("pause-length").value)));
    $("forget-form").addEventListener("submit", () => this.forget());
    $("dismiss").addEventListener("click", () => this.notify(""));
    for (const id of ["pause", "forget"]) $(`${id}-cancel`).addEventListener("click", () => $(`${id}-dialog`).close());
  }

  get zone() {
    return this.shownIn;
  }

  set zone(zone) {
    this.shownIn = zone;
    this.showHolds(this.held);
  }

  /* `session`: who looks; `status`: how the node is. */
  show(session, { recorder }) {
    const mayAct = session.role === "owner" && session.events; // without a broker, nobody would hear it
    for (const id of ["actions", "keeping", "notice"]) $(id).hidden = !mayAct;
    $("pause").hidden = recorder.state === "paused";
    $("resume").hidden = recorder.state !== "paused";
    if (mayAct && !this.mayAct) this.guard(async () => this.showHolds(await api.act("hold")));
    if (!mayAct) $("kept").hidden = true;
    this.mayAct = mayAct;
  }

  notify(text) {
    $("action-result").textContent = text;
  }

  /* Runs `work`; what goes wrong is shown at the foot of the window. */
  async guard(work) {
    try {
      return await work();
    } catch (problem) {
      if (!(problem instanceof api.Refused)) throw problem;
      this.notify(problem.code === api.AWAY ? TEXT.notReachable : TEXT.failed(problem.message));
      return undefined;
    }
  }

  async order(verb, fields = {}, done = () => TEXT.done[verb]) {
    this.notify(TEXT.working);
    const data = await this.guard(() => api.act(verb, fields));
    if (!data) return;
    this.notify(data.state ? TEXT.notRecording(data) : done(data)); // the recorder says what keeps it from recording
    this.dispatchEvent(new Event("change"));
  }

  openPause() {
    const now = Date.now();
    const ends = LENGTHS.map((length) => new Option(TEXT.pauseUntil(this.zone.dayAndTime(now + length)), String(length / SECOND)));
    $("pause-length").replaceChildren(...ends, new Option(TEXT.pauseUntilResumed, "0"));
    $("pause-dialog").showModal();
  }

  pause(seconds) {
    const paused = ({ until }) => (until ? TEXT.pauseUntil(this.zone.dayAndTime(parseTime(until))) : TEXT.pauseUntilResumed);
    return this.order("pause", seconds ? { seconds } : {}, paused);
  }

  async hold(range, release = false) {
    if (!range) return;
    await this.order("hold", { from: isoTime(range.from), to: isoTime(range.to), release }, (data) => {
      this.showHolds(data);
      return release ? TEXT.released : TEXT.kept(this.text(range));
    });
  }

  text({ from, to }) {
    return this.zone.range(from, to);
  }

  showHolds(held) {
    const { holds, omitted } = (this.held = held);
    $("kept").hidden = holds.length === 0;
    $("more-holds").textContent = omitted ? TEXT.moreHolds(omitted) : "";
    $("holds").replaceChildren(...holds.map(({ from, to }) => this.holdItem({ from: parseTime(from), to: parseTime(to) })));
  }

  holdItem(range) {
    const [item, text, release] = ["li", "button", "button"].map((tag) => document.createElement(tag));
    for (const button of [text, release]) button.type = "button";
    text.textContent = this.text(range);
    text.addEventListener("click", () => this.open(range));
    release.textContent = TEXT.release;
    release.setAttribute("aria-label", TEXT.releaseRange(this.text(range)));
    release.addEventListener("click", () => this.hold(range, true));
    item.append(text, " ", release);
    return item;
  }

  /* Shows a range, selected, with as much before and after it. */
  open({ from, to }) {
    const shown = { from: 2 * from - to, to: 2 * to - from, play: from, until: to };
    location.hash = new URLSearchParams(Object.entries(shown).map(([name, ms]) => [name, isoTime(ms)]));
  }

  openForget() {
    this.range = this.timeline.selection;
    if (!this.range) return;
    $("forget-what").textContent = TEXT.forgetWhat(this.text(this.range));
    $("confirmation").value = "";
    this.checkConfirmation();
    $("forget-dialog").showModal();
  }

  checkConfirmation() {
    $("forget-now").disabled = $("confirmation").value.trim().toLowerCase() !== TEXT.forgetWord;
  }

  /* Gives the order, and follows it until the node has looked through the bucket. */
  async forget() {
    const { range } = this;
    this.notify(TEXT.working);
    let order = await this.guard(() => api.act("forget", { from: isoTime(range.from), to: isoTime(range.to) }));
    if (!order) return;
    $("forgetting").hidden = false;
    const most = Math.max(1, order.remaining);
    if (order.reason) await this.guard(() => api.act("rotate")); // the chunk that is being recorded may have some of it
    while (order?.state === "open") {
      $("forgetting").value = 1 - order.remaining / most;
      this.notify(order.reason ? TEXT.forgetWaits(order.reason) : TEXT.forgetting(order.remaining));
      await new Promise((resolve) => setTimeout(resolve, POLL));
      order = await this.progress(order);
    }
    $("forgetting").hidden = true;
    if (!order) return;
    this.notify(order.state === "done" ? TEXT.forgotten(order.chunks, order.reason) : TEXT.forgetRefused(order.reason));
    this.dispatchEvent(new Event("change"));
  }

  /* How far an order has come. It is the node's: while that is away, it only cannot be seen here. */
  progress(order) {
    return this.guard(async () => {
      try {
        return await api.act("forget", { order: order.order });
      } catch (problem) {
        if (problem.code === api.AWAY || problem.status >= 500) return { ...order, reason: problem.message };
        throw problem;
      }
    });
  }
}
