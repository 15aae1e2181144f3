/* Instants are milliseconds since 1970 as numbers, exact to the microsecond; days are local dates of a zone. */

import { LOCALE } from "./text.js";

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/* The node's time, which may differ from this browser's. */
export const clock = {
  ahead: 0,
  set(ms) {
    this.ahead = ms - Date.now();
  },
  now() {
    return Date.now() + this.ahead;
  },
};

/* The node's form, 2026-03-03T22:00:00.123456Z. */
export function parseTime(text) {
  const micros = Number((text.match(/\.(\d+)/)?.[1] ?? "").padEnd(6, "0").slice(3)) / 1000;
  return Date.parse(text.replace(/\.(\d{3})\d*/, ".$1")) + micros;
}

export function isoTime(ms) {
  const whole = Math.floor(ms);
  const micros = Math.round((ms - whole) * 1000);
  return new Date(whole).toISOString().replace("Z", `${String(micros).padStart(3, "0")}Z`);
}

/* The same with its times as numbers. */
export function timed(span) {
  return { ...span, from: parseTime(span.from), to: span.to && parseTime(span.to) };
}

export class Zone {
  constructor(name) {
    this.name = name;
    this.clock = new Intl.DateTimeFormat("en-GB", {
      timeZone: name, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit",
      minute: "2-digit", second: "2-digit",
    });
    this.formats = new Map();
  }

  /* How far the zone's clocks are ahead of UTC, in milliseconds. */
  offset(ms) {
    const part = Object.fromEntries(this.clock.formatToParts(ms).map(({ type, value }) => [type, Number(value)]));
    const local = Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second);
    return local - Math.floor(ms / SECOND) * SECOND;
  }

  /* The instant at which the local day of that instant begins, `days` later. Days have 23 to 25 hours. */
  startOfDay(ms, days = 0) {
    const local = Math.floor((ms + this.offset(ms)) / DAY) * DAY + days * DAY;
    const guess = local - this.offset(local - this.offset(local));
    return guess + this.offset(guess) === local ? guess : this.firstAfter(local);
  }

  /* Where clocks skip midnight, the day begins with the first instant after it. */
  firstAfter(local) {
    let [before, after] = [local - DAY, local + DAY];
    while (after - before > 1) {
      const middle = Math.floor((before + after) / 2);
      if (middle + this.offset(middle) < local) before = middle;
      else after = middle;
    }
    return after;
  }

  /* The date as YYYY-MM-DD. */
  date(ms) {
    return new Date(ms + this.offset(ms)).toISOString().slice(0, 10);
  }

  /* The local time with its offset, such as 2026-03-03T22:00:00.000+01:00. */
  iso(ms) {
    const local = new Date(Math.round(ms) + this.offset(ms)).toISOString().replace("Z", "");
    return local + this.offsetText(ms);
  }

  /* How far the clocks are ahead of UTC, such as +01:00. */
  offsetText(ms) {
    const minutes = Math.round(this.offset(ms) / MINUTE);
    const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
    return `${minutes < 0 ? "-" : "+"}${String(hours).padStart(2, "0")}:${String(rest).padStart(2, "0")}`;
  }

  /* The start of a date YYYY-MM-DD; NaN if it is none. */
  ofDate(text) {
    return this.startOfDay(Date.parse(`${text}T12:00:00Z`) - this.offset(Date.parse(`${text}T12:00:00Z`)));
  }

  /* The instants at which clocks show the time YYYY-MM-DDTHH:MM:SS: one, two where they are set back, none where they skip it. */
  ofLocal(text) {
    const local = Date.parse(`${text}Z`);
    const offsets = new Set([-DAY, DAY].map((by) => this.offset(local + by)));
    return [...offsets].map((offset) => local - offset).filter((ms) => ms + this.offset(ms) === local).sort((one, other) => one - other);
  }

  format(ms, options) {
    const key = JSON.stringify(options);
    if (!this.formats.has(key)) this.formats.set(key, new Intl.DateTimeFormat(LOCALE, { ...options, timeZone: this.name }));
    return this.formats.get(key).format(ms);
  }

  /* Hour to second, with as many decimals as the instant has up to the millisecond. */
  time(ms) {
    const fine = ms % SECOND ? { fractionalSecondDigits: 3 } : {};
    return this.format(ms, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", ...fine }) + this.repeated(ms);
  }

  day(ms) {
    return this.format(ms, { weekday: "short", year: "numeric", month: "short", day: "numeric" });
  }

  dayAndTime(ms) {
    return `${this.day(ms)}, ${this.time(ms)}`;
  }

  /* Two times to the second, the second one without its day if that is the same. */
  range(from, to) {
    const [first, last] = [from, to].map((ms) => Math.round(ms / SECOND) * SECOND);
    const isOneDay = this.date(first) === this.date(last);
    return `${this.dayAndTime(first)} – ${isOneDay ? this.time(last) : this.dayAndTime(last)}`;
  }

  /* The offset, where the same clock time occurs twice: in the hour before and after clocks are set back. */
  repeated(ms) {
    const offset = this.offset(ms);
    const isTwice = [-1, 1].some((hours) => {
      const other = ms + hours * HOUR;
      return this.offset(other) - offset === -hours * HOUR;
    });
    return isTwice ? ` ${this.format(ms, { timeZoneName: "shortOffset" }).split(" ").at(-1)}` : "";
  }
}
