/* The calendar: one square per day, filled by the recorded share, with a border where there are gaps and a dot where there are sounds. */

import { DAY } from "./time.js";
import { TEXT, duration } from "./text.js";

/* One colour where that is enough: a gradient is an image, and there are hundreds of squares. */
function fill(share) {
  if (share <= 0) return "var(--future)";
  return share >= 100 ? "var(--recorded)" : `linear-gradient(to top, var(--recorded) ${share}%, var(--future) ${share}%)`;
}

export class Calendar extends EventTarget {
  constructor(container, zone) {
    super();
    this.container = container;
    this.zone = zone;
    container.addEventListener("click", (event) => this.open(event.target.closest("button")));
    container.addEventListener("keydown", (event) => this.onKey(event));
  }

  /* `days`: `{date, from, to, recorded, gaps, sounds}` in order; times in milliseconds. */
  show(days) {
    this.buttons = days.map((day) => this.square(day));
    const first = this.buttons[0];
    if (first) first.style.gridRowStart = String(((new Date(`${days[0].date}T12:00Z`).getUTCDay() + 6) % 7) + 1);
    this.container.replaceChildren(...this.buttons);
    this.container.scrollLeft = this.container.scrollWidth;
    this.mark(this.marked ?? days.at(-1)?.date);
  }

  square(day) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.date = day.date;
    const share = Math.round((day.recorded / (day.to - day.from)) * 100);
    button.style.background = fill(share);
    button.classList.toggle("gaps", day.gaps > 0);
    button.classList.toggle("with-sounds", day.sounds > 0);
    const hours = (day.to - day.from) / (DAY / 24);
    const text = [
      this.zone.day(day.from), TEXT.days(duration(day.recorded)), TEXT.gaps(day.gaps), TEXT.sounds(day.sounds),
      ...(hours === 24 ? [] : [TEXT.dayLength(hours)]),
    ].join(", ");
    button.setAttribute("aria-label", text);
    button.title = text;
    button.tabIndex = -1;
    return button;
  }

  /* Shows which day is open; Tab leads to that one, arrow keys to the others. */
  mark(date) {
    this.marked = date;
    for (const button of this.buttons ?? []) {
      const isOpen = button.dataset.date === date;
      button.setAttribute("aria-pressed", String(isOpen));
      button.tabIndex = isOpen ? 0 : -1;
    }
    if (this.buttons?.length && !this.buttons.some((button) => button.tabIndex === 0)) this.buttons.at(-1).tabIndex = 0;
  }

  open(button) {
    if (button) this.dispatchEvent(new CustomEvent("day", { detail: button.dataset.date }));
  }

  onKey(event) {
    const by = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -7, ArrowRight: 7 }[event.key];
    const at = this.buttons.indexOf(document.activeElement);
    if (!by || at < 0) return;
    event.preventDefault();
    this.buttons[Math.min(this.buttons.length - 1, Math.max(0, at + by))].focus();
  }
}
