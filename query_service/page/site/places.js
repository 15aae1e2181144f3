/* Where the selected sound is: chunk by chunk its archive, S3 path and SHA-256. */

import * as api from "./api.js";
import { guard } from "./problem.js";
import { STATES, TEXT } from "./text.js";
import { timed } from "./time.js";

const MOST = 50; // chunks

const $ = (id) => document.getElementById(id);

export class Places {
  constructor() {
    $("where").addEventListener("toggle", () => this.load());
  }

  show(selection, zone) {
    this.selection = selection;
    this.zone = zone;
    $("places").replaceChildren();
    this.load();
  }

  /* Asks for what nobody may want to see only when it is opened. */
  async load() {
    if (!$("where").open || !this.selection) return;
    this.loading?.abort();
    const { signal } = (this.loading = new AbortController());
    await guard(async () => {
      const { done, value } = await api.pages("coverage", { ...this.selection, urls: false, limit: MOST }, signal).next();
      if (done) return;
      const items = value.intervals.map(timed).map((each) => this.item(each, value.archives));
      $("places").replaceChildren(...items);
      if (value.next) $("places").append(paragraph(TEXT.moreChunks));
    });
  }

  item({ from, to, state, chunk_id: chunk, where }, archives) {
    const item = document.createElement("div");
    const facts = [[TEXT.place.state, STATES[state]], [TEXT.place.chunk, chunk]];
    if (where) {
      const { s3 } = archives[where.archive] ?? {};
      facts.push(
        [TEXT.place.archive, where.archive], [TEXT.place.s3, s3],
        [TEXT.place.bytes, TEXT.byteRange(where.member, where.offset, where.length)], [TEXT.place.sha256, where.sha256],
      );
    }
    const list = document.createElement("dl");
    for (const [name, value] of facts.filter(([, each]) => each)) {
      const [term, description] = ["dt", "dd"].map((tag) => document.createElement(tag));
      term.textContent = name;
      description.textContent = value;
      list.append(term, description);
    }
    item.append(paragraph(this.zone.range(from, to)), list);
    return item;
  }
}

function paragraph(text) {
  const made = document.createElement("p");
  made.textContent = text;
  return made;
}
