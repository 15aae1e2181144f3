/* How the node is: whether it records and since when, what waits, how long the disk lasts, and what time it is there. */

import { TEXT, bytes, duration } from "./text.js";
import { HOUR, SECOND, clock, parseTime } from "./time.js";

const $ = (id) => document.getElementById(id);

export class Header {
  constructor(zone) {
    this.zone = zone;
    setInterval(() => this.showClock(), SECOND);
  }

  /* `status`: the node's answer. */
  show(status) {
    clock.set(parseTime(status.at));
    this.showClock();
    const text = this.state(status.recorder);
    if ($("status").textContent !== text) $("status").textContent = text; // a screen reader reads what changes
    $("facts").replaceChildren(...this.facts(status).map((fact) => {
      const item = document.createElement("li");
      item.textContent = fact;
      return item;
    }));
  }

  state({ state, alive, since, until }) {
    if (!alive) return TEXT.recorderStates[state === "stopped" ? "stopped" : "unknown"];
    const parts = [TEXT.recorderStates[state]];
    if (since) parts.push(TEXT.since(this.zone.dayAndTime(Math.floor(parseTime(since) / SECOND) * SECOND)));
    if (until) parts.push(TEXT.until(this.zone.dayAndTime(Math.ceil(parseTime(until) / SECOND) * SECOND)));
    return parts.join(" ");
  }

  facts({ spool, disk_free: free, disk_hours_left: hours, last_upload: uploaded, catalog, incomplete }) {
    const facts = [];
    if (spool) facts.push(TEXT.waiting(spool.chunks, bytes(spool.bytes)));
    facts.push(uploaded ? TEXT.lastUpload(this.zone.dayAndTime(Math.floor(parseTime(uploaded) / SECOND) * SECOND)) : TEXT.noUpload);
    if (hours !== null) facts.push(TEXT.diskLasts(bytes(free), duration(hours * HOUR)));
    else if (free !== null) facts.push(TEXT.diskFree(bytes(free)));
    if (catalog === "busy") facts.push(TEXT.catalogBusy);
    if (incomplete) facts.push(TEXT.incomplete[incomplete]);
    return facts;
  }

  showClock() {
    $("clock").textContent = TEXT.clock(this.zone.dayAndTime(Math.floor(clock.now() / SECOND) * SECOND), this.zone.offsetText(clock.now()));
  }
}
