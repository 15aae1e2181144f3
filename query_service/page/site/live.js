/* What happens now: the level, and the latest events. A hidden page closes its stream; without one, `stale` is emitted. */

import { TEXT, level } from "./text.js";
import { parseTime } from "./time.js";

const SHOWN = 6;
const LOWEST = { dBFS: -100, dBA: 20 };
const SPAN = 100; // dB from the left to the right end of the meter
const RETRY = 30_000; // milliseconds until a stream that was refused is tried again

const $ = (id) => document.getElementById(id);

export class Live extends EventTarget {
  constructor(zone) {
    super();
    this.zone = zone;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.close() : this.isWanted && this.open()));
  }

  open() {
    this.isWanted = true;
    if (this.source || document.hidden) return;
    const source = new EventSource("/events");
    this.source = source;
    source.addEventListener("open", () => this.connected(true));
    source.addEventListener("error", () => {
      this.connected(false);
      if (source.readyState !== EventSource.CLOSED) return; // it tries again by itself
      this.close();
      setTimeout(() => this.open(), RETRY);
    });
    const handlers = {
      "recorder/level": (event) => this.showLevel(event),
      "recorder/sound": (event) => this.note(event, TEXT.events.sound(event)),
      "recorder/chunk": (event) => this.note(event, TEXT.events.chunk(event), "chunk"),
      "recorder/gap": (event) => this.note(event, TEXT.events.gap(event), "chunk"),
      "archiver/archive": (event) => this.note(event, TEXT.events.archive(event), "chunk"),
      "recorder/state": () => this.dispatchEvent(new Event("state")),
      "archiver/state": () => this.dispatchEvent(new Event("state")),
    };
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, ({ data }) => handle(JSON.parse(data)));
    }
  }

  close() {
    this.source?.close();
    this.source = null;
  }

  connected(isConnected) {
    $("live").hidden = !isConnected && $("listening").hidden;
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
