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
  before: "before the first recording",
};

export const CAUSES = {
  crash: "a program crashed",
  device_lost: "the microphone was missing",
  disk_full: "the disk was full",
  disk_missing: "the disk was not mounted",
  dropped: "the disk was full of sound that could not be uploaded",
  erased: "erased on request",
  lifecycle: "older than [archive] keep_remote",
  no_audio: "the microphone sent no sound",
  overrun: "the computer was too busy",
  power: "the power failed",
  quiet: "it was quiet, and only sounds are kept",
  restart: "it was restarted",
  unknown: "the cause is unknown",
};

export const TEXT = {
  loading: "Loading ...",
  noLevels: "No levels in this range.",
  noSounds: "No sounds in this range. Set [thresholds] sound_level to have sounds marked.",
  noSoundLevel: "No sound level is set, so no sounds are marked: [thresholds] sound_level = -40 marks what is louder than "
    + "-40 dB. The loudest minutes are found without it.",
  sounds: (count) => `${count} sound${count === 1 ? "" : "s"}`,
  recorderStates: {
    recording: "Recording", paused: "Paused", no_device: "No microphone found", disk_full: "The disk is full",
    stopped: "The recorder is stopped", unknown: "The recorder is not running",
  },
  since: (time) => `since ${time}`,
  until: (time) => `until ${time}`,
  lastUpload: (time) => `last upload ${time}`,
  noUpload: "nothing uploaded yet",
  diskLasts: (size, length) => `${size} free: enough for ${length} without uploads`,
  catalogBusy: "the catalog is being written or rebuilt: answers take longer",
  incomplete: {
    spool: "the disk with new recordings cannot be read: what is not uploaded yet is missing here",
    catalog: "the catalog cannot be read until the archiver has started: what is uploaded already is missing here",
  },
  clock: (time, offset) => `${time} (UTC${offset})`,
  setup: {
    bucket: "No bucket is configured, so nothing is uploaded: see [s3] s3_bucket_name. Recording goes on until the disk is full.",
    encrypted: "New sound is encrypted: the node cannot play it. `imhearing fetch --identity FILE` opens it with your key.",
    empty: "Nothing can be heard yet: the first sound appears here when the first chunk is finished, a minute after the start "
      + "unless [recorder] record_period says otherwise.",
  },
  waiting: (count, size) => (count ? `${count} chunk${count === 1 ? "" : "s"} (${size}) not uploaded yet` : "all uploaded"),
  chunksWaiting: (count) => (count ? `${count} chunk${count === 1 ? "" : "s"} not uploaded yet` : "all uploaded"),
  lasts: (length) => `the disk lasts ${length} without uploads`,
  diskFree: (size) => `${size} free`,
  notReachable: "The node does not answer: it may be stopped, or the network is down. The page tries again every few seconds.",
  storeAway: "The store with this sound does not answer. The page tries again every few seconds, then plays it.",
  brokeOff: "The sound broke off on its way. The page tries again every few seconds.",
  failed: (message) => `That did not work: ${message}`,
  busy: "The node is busy; trying again.",
  stillBusy: "The node is still busy. Try a shorter range, or again later.",
  sessionEnded: "The session has ended. Log in again.",
  tooManyPages: "Too many pages are open for live events: this one asks every few seconds.",
  progress: (percent) => `Loading, ${percent} %`,
  cut: "The page shows at most a year at a time: the last one of that range.",
  more: (count) => `and ${count} more; zoom in to see them`,
  moreChunks: "There are more chunks; select less to see them.",
  place: {
    state: "State", chunk: "Chunk", archive: "Archive", s3: "S3 path", bytes: "In it", sha256: "SHA-256",
  },
  byteRange: (member, offset, length) => `${member}, ${length} bytes from byte ${offset} on`,
  noPassword: "This node has no password yet. `imhearing page link` prints a link that logs you in; "
    + "`imhearing page password` sets a password.",
  loginFailed: "That password is not right.",
  loginWait: (seconds) => `Too many attempts. Try again in ${seconds} s.`,
  loginPlain: "This connection is not encrypted: the password crosses the network in clear text.",
  codeUsed: "This link has been used or is too old. `imhearing page link` prints another.",
  recorderOf: { silent: "present, but does not answer", refused: "cannot say" },
  noOtherNodes: "No other node is present.",
  loginToHear: "Log in as the owner to hear this.",
  signedIn: { owner: "Logged in as owner", viewer: "Logged in as viewer" },
  listen: "Listen live",
  stopListening: "Stop listening",
  listeners: (count) => (count ? `Live: ${count} listening` : "Nobody is listening live"),
  listenBegins: "Live sound begins in a moment ...",
  listenNow: "You hear what the microphone hears, a second or two later.",
  listenWaits: "Waiting for the recorder ...",
  listenEnded: "The live sound broke off.",
  listenEncrypted: "The node encrypts its sound, so nobody can listen live.",
  listenFull: "As many people as can be are listening already. Try again later.",
  selection: (range, length) => `${range} (${length})`,
  play: "Play",
  pause: "Pause",
  mix: "all (a mix is heard)",
  makingClip: "Making a clip ...",
  linkUntil: (time) => `the link works until ${time}`,
  noLink: "no link could be made; the node's log says why",
  tooLong: (limit) => `This is too long to play in the browser; choose at most ${limit}, or download it.`,
  encrypted: "This sound is encrypted: the node has no key to it. `imhearing fetch --identity` opens it with yours: copy the command line below.",
  noSound: "There is no sound in this range.",
  copied: "Copied.",
  selectToCopy: "Press Ctrl-C to copy the selected text.",
  units: { dBA: "dB(A)", dBFS: "dBFS" },
  curve: (name, unit, length) =>
    `${{ laeq: "LAeq", lafmax: "LAFmax", l90: "L90" }[name]} in ${TEXT.units[unit]}, one point per ${length}`,
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
      event === "failed" ? `upload failed: ${reason ?? "see the log"}` : `archive ${event}, ${chunks} chunk${chunks === 1 ? "" : "s"}, ${bytes(size)}`,
  },
  actions: { // by element
    pause: "Pause until ...", resume: "Resume", archive: "Archive now", rotate: "Rotate", keep: "Keep for ever",
    forget: "Forget ...", "kept-title": "Kept for ever", "pause-title": "Pause recording", "pause-label": "Record nothing",
    "pause-now": "Pause", "pause-cancel": "Cancel", "forget-title": "Forget", "confirmation-label": "Type forget to erase it:",
    "forget-now": "Erase for ever", "forget-cancel": "Cancel", dismiss: "OK",
  },
  exact: { "exact-from-label": "From", "exact-to-label": "to", "exact-select": "Select" }, // by element
  noRange: (isSkipped) => (isSkipped ? "Clocks skip one of these times." : "The end must be after the beginning."),
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
