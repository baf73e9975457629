/** Token text as it is shown: one line, blanks visible, control characters harmless, cut to a width. */

export function visible(text: string): string {
  const shown = text
    .replace(/\r?\n/g, "⏎")
    .replace(/\t/g, "⇥")
    // Controls and direction marks would reorder or hide what stands beside them.
    .replace(/[\u0000-\u001f\u007f-\u009f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g, "␦");
  return shown.trim() === "" ? "␣".repeat(Math.max(1, Math.min(3, shown.length))) : shown.trim();
}

/** A label's text, with the fraction of the character where it is only part of one. */
export function lettered(label: { text: string; part: string }): string {
  return label.part ? `${visible(label.text)} ${label.part}` : visible(label.text);
}

const measuring = document.createElement("canvas").getContext("2d");
const widths = new Map<string, number>();

export function widthOf(text: string, size: number, font: string): number {
  const key = `${size} ${text}`;
  let width = widths.get(key);
  if (width === undefined) {
    if (widths.size > 20000) widths.clear();
    if (measuring) measuring.font = `${size}px ${font}`;
    width = measuring ? measuring.measureText(text).width : text.length * size * 0.6;
    widths.set(key, width);
  }
  return width;
}

export function fitted(text: string, size: number, font: string, room: number): string {
  if (widthOf(text, size, font) <= room) return text;
  const points = Array.from(text);
  let [low, high] = [0, points.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (widthOf(`${points.slice(0, middle).join("")}…`, size, font) <= room) low = middle;
    else high = middle - 1;
  }
  return `${points.slice(0, low).join("")}…`;
}
