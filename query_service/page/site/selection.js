/* The selected stretch: how it sounds and looks. */

import * as api from "./api.js";
import { Places } from "./places.js";
import { Player, TooLong, load, oneChannel } from "./player.js";
import { explained } from "./problem.js";
import { SoundView } from "./spectrogram.js";
import { TEXT, duration } from "./text.js";
import { SECOND, isoTime, timed } from "./time.js";

const $ = (id) => document.getElementById(id);
const SOUND = ["recorded", "pending"];
const AGAIN = 3; // seconds until sound is asked for again

export class Selection {
  constructor(timeline) {
    this.timeline = timeline;
    this.isOwner = false;
    this.player = new Player();
    this.soundView = new SoundView($("sound"));
    this.places = new Places();
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
    $("copy").addEventListener("click", () => this.copy($("command")));
    $("copy-link").addEventListener("click", () => this.copy($("clip-link")));
    $("clip").addEventListener("click", () => this.makeClip());
    $("speed").addEventListener("change", () => player.set({ speed: Number($("speed").value) }));
    $("high-pass").addEventListener("change", () => player.set({ highPass: Number($("high-pass").value) }));
    $("gain").addEventListener("change", () => player.set({ gain: 10 ** (Number($("gain").value) / 20) }));
    $("channel").addEventListener("change", () => this.chooseChannel(Number($("channel").value)));
  }

  /* Shows what the timeline has selected; `isFinal`: it is not being dragged. */
  show(selection, isFinal) {
    $("selection").hidden = !selection;
    if (!selection) {
      this.player.use(null);
      return;
    }
    const { from, to } = selection;
    $("selection-title").textContent = TEXT.selection(this.zone.range(from, to), duration(to - from));
    if (!isFinal) return;
    this.player.use(null);
    this.soundView.clear();
    this.loading?.abort();
    this.loading = new AbortController();
    this.say(this.isOwner ? "" : TEXT.loginToHear);
    $("owner-actions").hidden = !this.isOwner;
    for (const format of ["flac", "wav"]) $(format).href = api.audioAddress(from, to, format);
    this.writeCommand();
    $("clip-result").hidden = true;
    this.places.show(selection, this.zone);
  }

  say(text) {
    $("sound-problem").textContent = text;
  }

  failed(problem) {
    if (problem.name === "AbortError") return;
    if (problem.code === "encrypted") this.writeCommand("--identity key.txt ");
    this.say(explain(problem));
  }

  writeCommand(options = "") {
    const { from, to } = this.timeline.selection;
    $("command").value = `imhearing fetch --from ${isoTime(from)} --to ${isoTime(to)} ${options}-o sound.flac`;
  }

  async togglePlay() {
    if (this.player.isPlaying) return this.player.pause();
    if (!this.player.sound) await this.load();
    return this.player.play();
  }

  async load() {
    const { selection } = this.timeline;
    if (!selection) return;
    const { signal } = this.loading;
    this.say(TEXT.loading);
    try {
      const [sound, states] = await this.patiently(signal, () => Promise.all([
        load(selection.from, selection.to, signal),
        api.list("states", "states", { ...selection, urls: false }, signal),
      ]));
      this.holes = states.map(timed).filter((each) => !SOUND.includes(each.state));
      this.player.use(sound);
      this.say("");
      this.showChannels(sound.buffer.numberOfChannels);
      await this.soundView.show(sound, this.holes);
    } catch (problem) {
      this.failed(problem);
    }
  }

  /* The result of `work`, which is tried again while the node or its store is away. */
  async patiently(signal, work) {
    for (;;) {
      try {
        return await work();
      } catch (problem) {
        if (!problem.isAway) throw problem;
        this.say(explained(problem));
      }
      await api.sleep(AGAIN, signal);
    }
  }

  showChannels(count) {
    $("channel-label").hidden = count < 2;
    const names = [TEXT.mix, ...Array.from({ length: count }, (_, index) => String(index + 1))];
    $("channel").replaceChildren(...names.map((name, index) => new Option(name, String(index - 1))));
    this.player.set({ channel: -1 });
  }

  /* Shows and plays one channel, or with -1 shows all of them and plays their mix. */
  async chooseChannel(channel) {
    const { player } = this;
    player.set({ channel });
    await this.soundView.show(channel < 0 ? player.sound : oneChannel(player.sound, channel), this.holes);
  }

  playing() {
    $("play").textContent = this.player.isPlaying ? TEXT.pause : TEXT.play;
  }

  /* Moves the cursors with the sound. */
  tick() {
    const { player, timeline } = this;
    const cursor = player.sound && player.sound.from + player.now() * SECOND;
    if (player.isPlaying) this.soundView.move(player.now());
    if (cursor !== timeline.cursor) {
      timeline.cursor = cursor;
      $("position").textContent = cursor === null ? "" : this.zone.time(cursor);
      timeline.draw();
    }
    requestAnimationFrame(() => this.tick());
  }

  async makeClip() {
    const { selection } = this.timeline;
    const { signal } = this.loading;
    this.say(TEXT.makingClip);
    try {
      const { clip } = await api.clip(selection.from, selection.to, signal);
      this.say("");
      const until = expiry(clip.url);
      $("clip-result").hidden = false;
      $("clip-link").value = clip.url ?? clip.s3;
      $("clip-facts").textContent = [clip.s3, until ? TEXT.linkUntil(this.zone.dayAndTime(until)) : TEXT.noLink].join(" · ");
      $("clip-link").select();
    } catch (problem) {
      this.failed(problem);
    }
  }

  async copy(field) {
    field.select();
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(field.value);
      this.say(TEXT.copied);
    } else this.say(TEXT.selectToCopy); // plain HTTP at home has no clipboard
  }
}

/* When a presigned link ends, as its address says; null where it does not. */
function expiry(url) {
  const given = url ? new URL(url).searchParams : new URLSearchParams();
  const [, date, time] = given.get("X-Amz-Date")?.match(/^(\d{8})T(\d{6})Z$/) ?? [];
  if (date) {
    const made = Date.parse(`${date.replace(/(....)(..)(..)/, "$1-$2-$3")}T${time.replace(/(..)(..)(..)/, "$1:$2:$3")}Z`);
    return made + Number(given.get("X-Amz-Expires")) * SECOND;
  }
  return given.has("Expires") ? Number(given.get("Expires")) * SECOND : null;
}

function explain(problem) {
  if (problem instanceof TooLong) return TEXT.tooLong(duration(problem.seconds * SECOND));
  if (!(problem instanceof api.Refused)) throw problem;
  if (problem.status === 401 || problem.status === 403) return problem.code === "forbidden" && problem.message ? problem.message : TEXT.loginToHear;
  if (problem.code === "encrypted") return TEXT.encrypted;
  if (problem.status === 404) return TEXT.noSound;
  return explained(problem);
}
