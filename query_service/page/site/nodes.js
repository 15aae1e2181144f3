/* The other nodes that the Ably key can see, one row each; asked for only while somebody looks. */

import * as api from "./api.js";
import { explained } from "./problem.js";
import { TEXT, duration } from "./text.js";
import { HOUR, SECOND, parseTime } from "./time.js";

const REFRESH = 30 * SECOND;

const $ = (id) => document.getElementById(id);

export class Nodes {
  constructor(zone) {
    this.zone = zone;
    $("nodes").addEventListener("toggle", () => this.load());
    setInterval(() => this.load(), REFRESH);
  }

  /* Whether this node knows others. */
  set isKnown(isKnown) {
    $("nodes-section").hidden = !isKnown;
  }

  async load() {
    if (!$("nodes").open || document.hidden) return;
    if ($("node-rows").hidden) $("nodes-note").textContent = TEXT.loading;
    try {
      const nodes = await api.otherNodes();
      $("nodes-note").textContent = nodes.length ? "" : TEXT.noOtherNodes;
      $("node-rows").hidden = !nodes.length;
      $("node-rows").tBodies[0].replaceChildren(...nodes.map((node) => this.row(node)));
    } catch (problem) {
      if (!(problem instanceof api.Refused)) throw problem;
      $("nodes-note").textContent = explained(problem);
    }
  }

  row({ node, state, since, message, waiting, disk_hours_left: hours, last_upload: uploaded }) {
    const time = (text) => this.zone.dayAndTime(Math.floor(parseTime(text) / SECOND) * SECOND);
    const states = [TEXT.recorderStates[state] ?? TEXT.recorderOf[state], message, since && TEXT.since(time(since))];
    const uploads = [
      waiting === undefined ? "" : TEXT.chunksWaiting(waiting), uploaded && TEXT.lastUpload(time(uploaded)),
      hours === undefined ? "" : TEXT.lasts(duration(hours * HOUR)),
    ];
    const row = document.createElement("tr");
    row.append(...[node, states.filter(Boolean).join(" "), uploads.filter(Boolean).join(", ")].map((text) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      return cell;
    }));
    return row;
  }
}
