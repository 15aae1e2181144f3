/* Waveform and spectrogram of the loaded sound, drawn by wavesurfer; stretches without sound are hatched. */

import { AWAY, Refused } from "./api.js";

const HEIGHT = 160; // pixels of the spectrogram
const SETTLE = 300; // milliseconds after the last change of size
const NONCE = document.querySelector("meta[name=csp-nonce]").content;
const LIBRARIES = [...document.querySelectorAll("meta[name=library]")].map(({ content }) => content);

let loading = null;

/* Wavesurfer and its plugin, once and in this order: the first view does without them. */
async function loadLibraries() {
  for (const address of LIBRARIES) if (!document.querySelector(`script[src="${address}"]`)) await loadScript(address);
}

function loadScript(address) {
  const script = document.createElement("script");
  return new Promise((resolve, reject) => {
    script.addEventListener("load", resolve);
    script.addEventListener("error", () => reject(new Refused(0, { error: { code: AWAY, message: "no answer" } })));
    script.src = address;
    document.head.append(script);
  }).catch((problem) => {
    script.remove(); // so that it is tried again
    throw problem;
  });
}

export class SoundView extends EventTarget {
  constructor(container) {
    super();
    this.container = container;
    this.holes = container.querySelector(".holes");
    new ResizeObserver(() => this.resized()).observe(container);
  }

  /* Draws again when a screen was turned or a window resized. */
  resized() {
    if (!this.shown || this.container.clientWidth === this.width) return;
    clearTimeout(this.resizing);
    this.resizing = setTimeout(() => this.shown && this.show(...this.shown), SETTLE);
  }

  async show(sound, holes) {
    this.clear();
    const shown = (this.shown = [sound, holes]);
    await (loading ??= loadLibraries().finally(() => (loading = null)));
    if (this.shown !== shown) return;
    this.width = this.container.clientWidth;
    const { sampleRate, duration } = sound.buffer;
    const splitChannels = sound.buffer.numberOfChannels > 1;
    const height = splitChannels ? HEIGHT / 2 : HEIGHT; // of each channel
    const wave = WaveSurfer.create({
      container: this.container.querySelector(".waves"),
      height: 60, sampleRate, cspNonce: NONCE, normalize: true, interact: true, cursorWidth: 2, splitChannels,
      plugins: [WaveSurfer.Spectrogram.create({
        height, labels: true, scale: "linear", fftSamples: 512, frequencyMax: sampleRate / 2, splitChannels,
      })],
    });
    this.wave = wave;
    wave.on("interaction", (seconds) => this.dispatchEvent(new CustomEvent("seek", { detail: seconds })));
    for (const hole of holes) this.hatch(hole, sound, duration);
    await wave.loadBlob(new Blob([sound.data]));
  }

  hatch(hole, sound, duration) {
    const mark = document.createElement("div");
    const share = (ms) => `${Math.min(100, Math.max(0, ((ms - sound.from) / (duration * 1000)) * 100))}%`;
    mark.className = "hole";
    mark.style.left = share(hole.from);
    mark.style.right = `calc(100% - ${share(hole.to)})`;
    this.holes.append(mark);
  }

  move(seconds) {
    this.wave?.setTime(seconds);
  }

  clear() {
    this.wave?.destroy();
    this.wave = this.shown = null;
    this.holes.replaceChildren();
  }
}
