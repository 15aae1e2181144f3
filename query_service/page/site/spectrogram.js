/* Waveform and spectrogram of the loaded sound, drawn by wavesurfer; stretches without sound are hatched. */

const HEIGHT = 160; // pixels of the spectrogram
const SETTLE = 300; // milliseconds after the last change of size
const NONCE = document.querySelector("meta[name=csp-nonce]").content;

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
    this.shown = [sound, holes];
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
