/* The node's event stream, for any number of listeners. While nobody listens, there is none. */

const NAMES = [
  "recorder/state", "recorder/level", "recorder/chunk", "recorder/sound", "recorder/gap", "archiver/state", "archiver/archive",
];
const KEPT = ["recorder/state", "archiver/state"]; // the last of which a new listener begins with
const RETRY = 30_000; // milliseconds until a stream that was refused is tried again

/* A listener is called with the name of an event and its JSON, or with "open", "lost" or "refused". */
export class EventHub {
  constructor() {
    this.listeners = new Set();
    this.last = new Map();
    this.state = "lost";
  }

  add(listener) {
    if (this.listeners.has(listener)) return;
    this.listeners.add(listener);
    listener(this.state);
    for (const [name, data] of this.last) listener(name, data);
    this.connect();
  }

  remove(listener) {
    this.listeners.delete(listener);
    if (!this.listeners.size) this.disconnect("lost");
  }

  connect() {
    if (this.source || !this.listeners.size) return;
    const source = new EventSource("/events");
    this.source = source;
    source.addEventListener("open", () => this.tell("open"));
    source.addEventListener("error", () => {
      if (source.readyState !== EventSource.CLOSED) this.tell("lost"); // it tries again by itself
      else {
        this.disconnect("refused");
        setTimeout(() => this.connect(), RETRY);
      }
    });
    for (const name of NAMES) {
      source.addEventListener(name, ({ data }) => {
        if (KEPT.includes(name)) this.last.set(name, data);
        this.tell(name, data);
      });
    }
  }

  disconnect(state) {
    this.source?.close();
    this.source = null;
    this.last.clear();
    this.tell(state);
  }

  tell(name, data) {
    if (data === undefined) this.state = name;
    for (const listener of this.listeners) listener(name, data);
  }
}
