/* Plays a range: the exact samples, decoded at their own rate, so that nothing is lost before they are slowed down. */

import * as api from "./api.js";

const MOST_BYTES = 400e6; // of decoded samples in memory, 32 bits each
const FLAC_HEADER = 42;

export class TooLong extends Error {
  constructor(seconds) {
    super("too long");
    this.seconds = seconds;
  }
}

/* Rate, channels and frames of a FLAC file, from its header: RFC 9639, 8.2. */
export function flacFormat(data) {
  const view = new DataView(data, 0, FLAC_HEADER);
  const packed = view.getBigUint64(18);
  return {
    rate: Number(packed >> 44n),
    channels: Number((packed >> 41n) & 7n) + 1,
    frames: Number(packed & 0xfffffffffn),
  };
}

export function longestSeconds(rate, channels) {
  return Math.floor(MOST_BYTES / (rate * channels * 4));
}

/* The sound of a range: its file's bytes, and its samples as an AudioBuffer. */
export async function load(from, to, signal) {
  const data = await api.audio(from, to, signal);
  const { rate, channels, frames } = flacFormat(data);
  if (frames * channels * 4 > MOST_BYTES) throw new TooLong(longestSeconds(rate, channels));
  // decodeAudioData resamples to the rate of its context
  const decoder = new OfflineAudioContext(channels, 1, rate);
  const buffer = await decoder.decodeAudioData(data.slice(0));
  return { from, to, data, buffer };
}

/* One channel of the sound as a sound of its own; its file is a WAV of 32-bit floats. */
export function oneChannel({ from, to, buffer }, channel) {
  const samples = buffer.getChannelData(channel);
  const single = new AudioBuffer({ length: samples.length, numberOfChannels: 1, sampleRate: buffer.sampleRate });
  single.copyToChannel(samples, 0);
  return { from, to, data: wav(samples, buffer.sampleRate), buffer: single };
}

function wav(samples, rate) {
  const size = samples.length * 4;
  const data = new ArrayBuffer(44 + size);
  const view = new DataView(data);
  const put = (at, text) => [...text].forEach((letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));
  put(0, "RIFF");
  view.setUint32(4, 36 + size, true);
  put(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 3, true); // IEEE float
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * 4, true);
  view.setUint16(32, 4, true);
  view.setUint16(34, 32, true);
  put(36, "data");
  view.setUint32(40, size, true);
  new Float32Array(data, 44).set(samples);
  return data;
}

export class Player extends EventTarget {
  constructor() {
    super();
    this.sound = null;
    this.speed = 1;
    this.gain = 1;
    this.highPass = 0;
    this.channel = -1; // all
    this.position = 0; // seconds into the sound
    this.source = null;
  }

  get isPlaying() {
    return this.source !== null;
  }

  /* Seconds into the sound that are heard now. */
  now() {
    if (!this.source) return this.position;
    const heard = this.context.currentTime - (this.context.outputLatency || 0) - this.startedAt;
    return Math.min(this.sound.buffer.duration, this.position + Math.max(0, heard) * this.speed);
  }

  use(sound) {
    this.stop();
    this.sound = sound;
    this.position = 0;
  }

  play() {
    if (!this.sound || this.source) return;
    this.context ??= new AudioContext();
    this.context.resume();
    if (this.position >= this.sound.buffer.duration) this.position = 0;
    const source = new AudioBufferSourceNode(this.context, { buffer: this.sound.buffer, playbackRate: this.speed });
    this.chain(source);
    source.addEventListener("ended", () => {
      if (this.source !== source) return;
      this.source = null;
      this.position = this.sound.buffer.duration;
      this.changed();
    });
    this.startedAt = this.context.currentTime;
    this.source = source;
    source.start(0, this.position);
    this.changed();
  }

  chain(source) {
    let last = source;
    const { numberOfChannels: count } = source.buffer;
    const isMixed = this.channel < 0 && count > 2; // two are heard left and right
    if (isMixed || (this.channel >= 0 && count > 1)) {
      const splitter = new ChannelSplitterNode(this.context, { numberOfOutputs: count });
      const one = new GainNode(this.context, { gain: isMixed ? 1 / count : 1, channelCount: 1, channelCountMode: "explicit" });
      last.connect(splitter);
      for (let channel = 0; channel < count; channel += 1) {
        if (isMixed || channel === this.channel) splitter.connect(one, channel);
      }
      last = one;
    }
    if (this.highPass) {
      const filter = new BiquadFilterNode(this.context, { type: "highpass", frequency: this.highPass });
      last.connect(filter);
      last = filter;
    }
    const gain = new GainNode(this.context, { gain: this.gain });
    last.connect(gain);
    gain.connect(this.context.destination);
  }

  pause() {
    if (!this.source) return;
    const position = this.now();
    const { source } = this;
    this.source = null;
    source.stop();
    this.position = position;
    this.changed();
  }

  stop() {
    this.pause();
    this.position = 0;
    this.changed();
  }

  seek(position) {
    const wasPlaying = this.isPlaying;
    this.pause();
    this.position = Math.max(0, position);
    if (wasPlaying) this.play();
    this.changed();
  }

  /* Changes how it sounds, from where it is. */
  set(changes) {
    const wasPlaying = this.isPlaying;
    this.pause();
    Object.assign(this, changes);
    if (wasPlaying) this.play();
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }
}
