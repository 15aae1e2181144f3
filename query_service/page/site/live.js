/* What happens now: the level, and the latest events. A hidden page listens to none. */

import { EventHub } from "./event-hub.js";
import { TEXT, level } from "./text.js";
import { parseTime } from "./time.js";

const SHOWN = 6;
const LOWEST = { dBFS: -100, dBA: 20 };
const SPAN = 100; // dB from the left to the right end of the meter

const $ = (id) => document.getElementById(id);

/* Emits `state` when recorder or archiver change, `chunk` when there is more to show. */
export class Live extends EventTarget {
  constructor(zone) {
    super();
    this.zone = zone;
    this.isWanted = this.isConnected = false;
    for (const [target, name] of [[document, "visibilitychange"], [window, "pageshow"]]) {
      target.addEventListener(name, () => this.listen(!document.hidden));
    }
    window.addEventListener("pagehide", () => this.listen(false));
  }

  open() {
    this.isWanted = true;
    this.listen(!document.hidden);
  }

  listen(isVisible) {
    if (!this.isWanted) return;
    this.connect ??= connection((name, data) => this.take(name, data));
    this.connect(isVisible);
    if (!isVisible) this.isConnected = false;
  }

  take(name, data) {
    const event = data && JSON.parse(data);
    const handlers = {
      open: () => this.connected(true),
      lost: () => this.connected(false),
      refused: () => this.connected(false, TEXT.tooManyPages),
      "recorder/level": () => this.showLevel(event),
      "recorder/sound": () => this.note(event, TEXT.events.sound(event)),
      "recorder/chunk": () => this.note(event, TEXT.events.chunk(event), "chunk"),
      "recorder/gap": () => this.note(event, TEXT.events.gap(event), "chunk"),
      "archiver/archive": () => this.note(event, TEXT.events.archive(event), "chunk"),
      "recorder/state": () => this.dispatchEvent(new Event("state")),
      "archiver/state": () => this.dispatchEvent(new Event("state")),
    };
    handlers[name]?.();
  }

  connected(isConnected, note = "") {
    this.isConnected = isConnected;
    $("live").hidden = !isConnected && !note && $("listening").hidden;
    $("live-note").textContent = note;
    $("meter").hidden = $("meter-text").hidden = $("happenings").hidden = !isConnected;
  }

  showLevel({ laeq, lafmax, unit }) {
    const share = (value) => Math.min(1, Math.max(0, (value - LOWEST[unit]) / SPAN));
    $("meter").value = share(laeq);
    $("meter-text").textContent = `LAeq ${level(laeq, unit)}, LAFmax ${level(lafmax, unit)}`;
  }

  note({ at }, text, kind) {
    const item = document.createElement("li");
    item.textContent = `${this.zone.time(Math.floor(parseTime(at) / 1000) * 1000)} ${text}`;
    $("happenings").prepend(item);
    while ($("happenings").children.length > SHOWN) $("happenings").lastChild.remove();
    if (kind) this.dispatchEvent(new Event(kind));
  }
}

/* A function that says whether `listener` wants events; all tabs of a browser share one stream where it can. */
function connection(listener) {
  if (typeof SharedWorker === "undefined") {
    const hub = new EventHub();
    return (isWanted) => (isWanted ? hub.add(listener) : hub.remove(listener));
  }
  const { port } = new SharedWorker("./shared-events.js", { type: "module" });
  port.addEventListener("message", ({ data: { name, data } }) => listener(name, data));
  port.start();
  return (isWanted) => port.postMessage(isWanted);
}
