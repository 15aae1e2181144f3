/* What is shown as a table for other programs: RFC 4180, times with their offset, the zone and the unit in each row. */

const LEVELS = ["laeq", "lafmax", "l90"];

export function levelsTable(levels, zone) {
  const rows = levels.map((each) => [...span(each, zone), each.unit ?? "", ...LEVELS.map((name) => number(each[name]))]);
  return table(["from", "to", "zone", "unit", "LAeq", "LAFmax", "L90"], rows);
}

export function soundsTable(sounds, zone) {
  const rows = sounds.map((each) => [...span(each, zone), each.unit ?? "", number(each.lafmax), number(each.laeq), each.state]);
  return table(["from", "to", "zone", "unit", "LAFmax", "LAeq", "state"], rows);
}

function span({ from, to }, zone) {
  return [zone.iso(from), to ? zone.iso(to) : "", zone.name];
}

function number(value) {
  return value === null || value === undefined ? "" : String(value);
}

function table(head, rows) {
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return [head, ...rows].map((row) => `${row.map(quoted).join(",")}\r\n`).join("");
}

/* Lets the browser save the text under that name. */
export function save(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
