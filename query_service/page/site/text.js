/* Every text of the page. A translation is another file like this one; dates and numbers come from Intl. */

export const LOCALE = navigator.language;

export const STATES = {
  recorded: "recorded",
  pending: "on the node only",
  recording: "being recorded",
  paused: "paused",
  gap: "not recorded",
  expired: "no longer kept",
  future: "still to come",
};

export const CAUSES = {
  crash: "a program crashed",
  device_lost: "the microphone was missing",
  disk_full: "the disk was full",
  disk_missing: "the disk was not mounted",
  overflow: "the computer was too busy",
  quiet: "it was quiet, and only sounds are kept",
  restart: "it was restarted",
  schedule: "not in the schedule",
  shutdown: "it was switched off",
  unknown: "nobody knows why",
};

export const TEXT = {
  loading: "Loading ...",
  noLevels: "No levels in this range.",
  noSounds: "No sounds in this range. Set [thresholds] sound_level to have sounds marked.",
  sounds: (count) => `${count} sound${count === 1 ? "" : "s"}`,
  loudest: (level) => `loudest ${level}`,
  recordingSince: (time) => `Recording since ${time}`,
  recorderStates: {
    recording: "recording", paused: "Paused", no_device: "No microphone", disk_full: "The disk is full",
    stopped: "Stopped", unknown: "The recorder does not run",
  },
  until: (time) => `until ${time}`,
  waiting: (count, size) => (count ? `${count} chunk${count === 1 ? "" : "s"} (${size}) not uploaded yet` : "all uploaded"),
  diskFree: (size) => `${size} free`,
  notReachable: "The node does not answer. The page tries again every few seconds.",
  noPassword: "This node has no password yet. `imhearing page link` prints a link that logs you in; "
    + "`imhearing page password` sets a password.",
  loginFailed: "That password is not right.",
  loginWait: (seconds) => `Too many attempts. Try again in ${seconds} s.`,
  loginPlain: "This connection is not encrypted: the password crosses the network in clear text.",
  codeUsed: "This link has been used or is too old. `imhearing page link` prints another.",
  loginToHear: "Log in as the owner to hear this.",
  signedIn: { owner: "Logged in as owner", viewer: "Logged in as viewer" },
  selection: (from, to, length) => `${from} to ${to} (${length})`,
  tooLong: (limit) => `This is too long to play in the browser; choose at most ${limit}, or download it.`,
  encrypted: "This sound is encrypted: the node has no key to it. `imhearing fetch --identity FILE` opens it.",
  noSound: "There is no sound in this range.",
  soundChanges: "The format of the sound changes in this range; choose a part of it.",
  failed: (message) => `That did not work: ${message}`,
  copied: "Copied.",
  selectToCopy: "Press Ctrl-C to copy the selected text.",
  units: { dBA: "dB(A)", dBFS: "dBFS" },
  curve: { laeq: "LAeq", lafmax: "LAFmax", l90: "L90" },
  step: (length) => `one point per ${length}`,
  days: (recorded) => `${recorded} recorded`,
  gaps: (count) => `${count} gap${count === 1 ? "" : "s"}`,
  timelineLabel: (from, to) =>
    `Timeline from ${from} to ${to}. Arrow keys move, plus and minus zoom, Shift with arrow keys selects, Enter plays.`,
  dayLength: (hours) => `this day has ${hours} hours`,
  events: {
    sound: ({ event, lafmax, unit }) => `sound ${{ started: "started", updated: "goes on", ended: "ended" }[event]}, ${level(lafmax, unit)}`,
    chunk: ({ bytes: size }) => `chunk finished, ${bytes(size)}`,
    gap: ({ cause }) => `nothing was recorded: ${CAUSES[cause] ?? cause}`,
    archive: ({ event, chunks, bytes: size, reason }) =>
      event === "failed" ? `upload failed: ${reason ?? "see the log"}` : `archive ${event}, ${chunks} chunks, ${bytes(size)}`,
  },
  actions: { // by element
    pause: "Pause until ...", resume: "Resume", archive: "Archive now", rotate: "Rotate", keep: "Keep for ever",
    forget: "Forget ...", "kept-title": "Kept for ever", "pause-title": "Pause recording", "pause-label": "Record nothing",
    "pause-now": "Pause", "pause-cancel": "Cancel", "forget-title": "Forget", "confirmation-label": "Type forget to erase it:",
    "forget-now": "Erase for ever", "forget-cancel": "Cancel", dismiss: "OK",
  },
  working: "Working ...",
  done: {
    resume: "Recording goes on.", archive: "Everything finished is being archived.", rotate: "A new chunk has begun.",
  },
  notRecording: ({ state, reason }) => `Not recording: ${TEXT.recorderStates[state] ?? state}${reason ? ` (${reason})` : ""}`,
  pauseUntil: (time) => `until ${time}`,
  pauseUntilResumed: "until you resume",
  kept: (range) => `Kept for ever: ${range}.`,
  release: "Release",
  releaseRange: (range) => `Release ${range}`,
  released: "Released: it may expire, or be forgotten.",
  moreHolds: (count) => `${count} more; \`imhearing hold\` lists all.`,
  forgetWord: "forget",
  forgetWhat: (range) => `${range}: the sound, its levels and everything heard in it, on the node and in the bucket, in whole `
    + "chunks. This cannot be undone.",
  forgetting: (left) => (left ? `${left} chunk${left === 1 ? "" : "s"} left to erase ...` : "Checking that the bucket has nothing left ..."),
  forgetWaits: (reason) => `Not erased yet: ${reason}`,
  forgotten: (chunks, left) => `Forgotten: ${chunks} chunk${chunks === 1 ? "" : "s"}. ${left ?? "The bucket was searched: nothing is left."}`,
  forgetRefused: (reason) => `Nothing more is erased: ${reason}`,
  zones: { node: "the node's time", browser: "this browser's time", UTC: "UTC" },
};

const SIZES = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];

export function bytes(count) {
  const power = Math.min(SIZES.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, count)) / 3)));
  const format = new Intl.NumberFormat(LOCALE, {
    style: "unit", unit: SIZES[power], unitDisplay: "short", maximumFractionDigits: power ? 1 : 0,
  });
  return format.format(count / 1000 ** power);
}

/* A length of time in milliseconds, such as "2 h 5 min" or "1.25 s". */
export function duration(ms) {
  const seconds = ms / 1000;
  if (seconds < 60) return `${new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 3 }).format(seconds)} s`;
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const found = [];
  let left = Math.round(seconds);
  for (const [size, unit] of parts) {
    const count = Math.floor(left / size);
    if (count) found.push(`${count} ${unit}`);
    left -= count * size;
  }
  return found.slice(0, 2).join(" ");
}

export function level(value, unit) {
  if (value === null || value === undefined) return "–";
  const number = new Intl.NumberFormat(LOCALE, { minimumFractionDigits: 1, maximumFractionDigits: 1 }).format(value);
  return unit ? `${number} ${TEXT.units[unit]}` : number;
}
