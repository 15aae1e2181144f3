/* The selected stretch: how it sounds and looks, where it is, and how to get it. */

import * as api from "./api.js";
import { Player, TooLong, load } from "./player.js";
import { SoundView } from "./spectrogram.js";
import { TEXT, duration } from "./text.js";
import { SECOND, isoTime } from "./time.js";

const $ = (id) => document.getElementById(id);

export class Selection {
  constructor(timeline) {
    this.timeline = timeline;
    this.isOwner = false;
    this.player = new Player();
    this.soundView = new SoundView($("sound"));
    this.listen();
    requestAnimationFrame(() => this.tick());
  }

  get zone() {
    return this.timeline.zone;
  }

  listen() {
    const { player } = this;
    player.addEventListener("change", () => this.playing());
    this.timeline.addEventListener("play", () => this.togglePlay());
    this.soundView.addEventListener("seek", ({ detail }) => player.seek(detail));
    $("play").addEventListener("click", () => this.togglePlay());
    $("copy").addEventListener("click", () => this.copy());
    $("speed").addEventListener("change", () => player.set({ speed: Number($("speed").value) }));
    $("high-pass").addEventListener("change", () => player.set({ highPass: Number($("high-pass").value) }));
    $("gain").addEventListener("change", () => player.set({ gain: 10 ** (Number($("gain").value) / 20) }));
    $("channel").addEventListener("change", () => player.set({ channel: Number($("channel").value) }));
  }

  /* Shows what the timeline has selected; `isFinal`: it is not being dragged. */
  show(selection, isFinal) {
    $("selection").hidden = !selection;
    if (!selection) {
      this.player.stop();
      return;
    }
    const { from, to } = selection;
    $("selection-title").textContent = TEXT.selection(this.zone.dayAndTime(from), this.zone.time(to), duration(to - from));
    if (!isFinal) return;
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
    if (!this.player.sound) await this.load();
    return this.player.play();
  }

  async load() {
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
      $("sound-problem").textContent = explain(problem);
    }
  }

  showChannels(count) {
    $("channel-label").hidden = count < 2;
    const names = ["all", ...Array.from({ length: count }, (_, index) => String(index + 1))];
    $("channel").replaceChildren(...names.map((name, index) => new Option(name, String(index - 1))));
    this.player.set({ channel: -1 });
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
}

function explain(problem) {
  if (problem instanceof TooLong) return TEXT.tooLong(duration(problem.seconds * SECOND));
  if (!(problem instanceof api.Refused)) throw problem;
  if (problem.status === 401 || problem.status === 403) return TEXT.loginToHear;
  if (problem.code === "encrypted") return TEXT.encrypted;
  return problem.code === api.AWAY ? TEXT.notReachable : problem.message;
}
