/* How the node is: whether it records, and what waits to be uploaded. */

import { TEXT, bytes } from "./text.js";
import { SECOND, parseTime } from "./time.js";

export class Header {
  constructor(zone) {
    this.zone = zone;
  }

  /* `status`: the node's answer. */
  show({ recorder, spool, disk_free: free }) {
    const state = recorder.state === "recording" && recorder.alive
      ? TEXT.recordingSince(this.zone.dayAndTime(whole(parseTime(recorder.since))))
      : TEXT.recorderStates[recorder.alive ? recorder.state : "unknown"];
    const parts = [state];
    if (recorder.until) parts.push(TEXT.until(this.zone.dayAndTime(parseTime(recorder.until))));
    if (spool) parts.push(TEXT.waiting(spool.chunks, bytes(spool.bytes)));
    if (free !== null) parts.push(TEXT.diskFree(bytes(free)));
    document.getElementById("status").textContent = parts.join(" · ");
  }
}

function whole(ms) {
  return Math.floor(ms / SECOND) * SECOND;
}
