/* Runs once for all tabs of a browser: a browser opens six connections to a host, and each event stream takes one. */

import { EventHub } from "./event-hub.js";

const hub = new EventHub();

self.addEventListener("connect", ({ ports: [port] }) => {
  const listener = (name, data) => port.postMessage({ name, data });
  port.addEventListener("message", ({ data: isOpen }) => (isOpen ? hub.add(listener) : hub.remove(listener)));
  port.start();
});
