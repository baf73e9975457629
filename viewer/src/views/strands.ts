import { fitted, lettered, widthOf } from "../draw/lettering";
import type { Pen } from "../draw/pen";
import { colour, css } from "../draw/scale";
import type { Axis } from "../weights/axis";
import { strength } from "../weights/pyramid";
import type { Chosen, Picture } from "./view";

export const ROW = 25;
export const TOP = 30;
const LETTERS = 13.5;
/** A row draws no more lines than the eye can tell apart. */
const EACH = 40;
const FAINTEST = 0.03;

export type Side = "row" | "column";

/** The lines from tokens to what they look at, and the tokens at both ends. */
export class Strands {
  private strongest: number[][] = [];
  private incoming: number[][] | null = null;

  /** Forgets what it knew of another picture. */
  clear(): void {
    this.strongest = [];
    this.incoming = null;
  }

  /** How wide the picture is where there is so much room. */
  across(picture: Picture, room: number): number {
    const longest = Math.max(...[picture.rows, picture.columns].map((axis) => this.widest(axis, picture.theme.font)));
    return Math.min(Math.max(room, 320), Math.round(2 * (longest + 30) + 460));
  }

  private widest(axis: Axis, font: string): number {
    let width = 40;
    // Enough of a long text to know how wide its tokens are.
    for (const label of axis.labels.slice(0, 400)) width = Math.max(width, widthOf(lettered(label), LETTERS, font));
    return Math.min(width, 220);
  }

  /**
   * Draws what lies between two heights.
   *
   * @param focus the tokens whose lines are drawn; without any, those of all
   * @param whole the picture for export, whose headings stand at its top
   */
  draw(pen: Pen, picture: Picture, width: number, top: number, bottom: number, focus: Chosen, whole: boolean): void {
    const { rows, columns, theme, words } = picture;
    const gutter = this.gutter(picture, width);
    const first = Math.max(0, Math.floor((top - TOP) / ROW));
    const last = (axis: Axis) => Math.min(axis.labels.length - 1, Math.ceil((bottom - TOP) / ROW));

    if (focus.row !== null) this.outgoing(pen, picture, width, gutter, focus.row, 160, focus.column);
    else if (focus.column !== null) this.arriving(pen, picture, width, gutter, focus.column);
    else for (let row = first; row <= last(rows); row++) this.outgoing(pen, picture, width, gutter, row, EACH, null);

    this.tint(pen, picture, width, gutter, focus, first, Math.max(last(rows), last(columns)));
    const letter = (axis: Axis, index: number, side: Side) => {
      const label = axis.labels[index];
      const text = fitted(lettered(label), LETTERS, theme.font, gutter - 22);
      const on = focus[side] === index;
      const shade = this.shadeOf(picture, focus, index, side);
      const ink = shade > 150 ? (theme.dark ? "#10141b" : "#ffffff") : label.special ? theme.soft : theme.ink;
      const writing = { size: LETTERS, colour: ink, weight: on ? 700 : 400 };
      const y = TOP + index * ROW + ROW / 2;
      if (side === "row") pen.write(gutter - 10, y, text, { ...writing, align: "end" });
      else pen.write(width - gutter + 10, y, text, writing);
    };
    for (let index = first; index <= last(rows); index++) letter(rows, index, "row");
    for (let index = first; index <= last(columns); index++) letter(columns, index, "column");
    // The headings stand above the first tokens and stay in sight.
    const above = whole ? 0 : top;
    pen.rectangle(0, above, width, TOP - 4, theme.ground);
    pen.write(gutter - 10, above + 13, words.query, { size: 12, colour: theme.soft, align: "end" });
    pen.write(width - gutter + 10, above + 13, words.key, { size: 12, colour: theme.soft });
  }

  private outgoing(pen: Pen, picture: Picture, width: number, gutter: number, row: number, count: number, only: number | null): void {
    if (row >= picture.weights.rows) return;
    const cached = count === EACH ? this.strongest[row] : undefined;
    const found = cached ?? picture.weights.strongest(row, count);
    if (count === EACH) this.strongest[row] = found;
    for (let i = found.length - 1; i >= 0; i--) this.stroke(pen, picture, width, gutter, row, found[i], only !== null && only !== found[i], count === EACH);
  }

  private arriving(pen: Pen, picture: Picture, width: number, gutter: number, column: number): void {
    this.incoming ??= [];
    this.incoming[column] ??= heaviestRows(picture, column, 160);
    for (const row of this.incoming[column]) this.stroke(pen, picture, width, gutter, row, column, false);
  }

  private stroke(pen: Pen, picture: Picture, width: number, gutter: number, row: number, column: number, faint: boolean, overview = false): void {
    const { theme, weights } = picture;
    // Without a choice, rows that spread their weight are fainter; else they would bury the others.
    const strong = this.shareOf(picture, row, column) * (overview ? Math.sqrt(Math.min(1, weights.tops[row])) : 1);
    if (strong < FAINTEST) return;
    const y = (index: number) => TOP + index * ROW + ROW / 2;
    const below = weights.signs?.[row * weights.columns + column];
    const hue = css(colour(theme.scale, theme.dark ? 175 : 165, below === 1));
    pen.curve(gutter, y(row), width - gutter, y(column), hue, 0.8 + 2.6 * strong, (faint ? 0.25 : 1) * (0.08 + 0.87 * strong));
  }

  private shareOf(picture: Picture, row: number, column: number): number {
    const { weights, brightness } = picture;
    return strength(weights, row, weights.shares[row * weights.columns + column], brightness) / 255;
  }

  private shadeOf(picture: Picture, focus: Chosen, index: number, side: Side): number {
    if (focus.row !== null && side === "column" && focus.row < picture.weights.rows) return 255 * this.shareOf(picture, focus.row, index);
    if (focus.row === null && focus.column !== null && side === "row") return 255 * this.shareOf(picture, index, focus.column);
    return 0;
  }

  private tint(pen: Pen, picture: Picture, width: number, gutter: number, focus: Chosen, first: number, last: number): void {
    const { theme, weights } = picture;
    const chip = (side: Side, index: number, fill: string) =>
      pen.rectangle(side === "row" ? 2 : width - gutter + 2, TOP + index * ROW + 1, gutter - 4, ROW - 2, fill);
    const [side, count] = focus.row !== null ? (["column", weights.columns] as const) : (["row", weights.rows] as const);
    if (focus.row !== null || focus.column !== null) {
      for (let index = first; index <= Math.min(last, count - 1); index++) {
        const shade = this.shadeOf(picture, focus, index, side);
        const [row, column] = focus.row !== null ? [focus.row, index] : [index, focus.column ?? 0];
        const below = weights.signs?.[row * weights.columns + column] === 1;
        if (shade > 2) chip(side, index, css(colour(theme.scale, shade, below)));
      }
    }
    for (const end of ["row", "column"] as const) {
      const index = focus[end];
      if (index === null) continue;
      const x = end === "row" ? 2 : width - gutter + 2;
      pen.frame(x + 0.5, TOP + index * ROW + 1.5, gutter - 5, ROW - 3, theme.accent, 1.5);
    }
  }

  private gutter(picture: Picture, width: number): number {
    const longest = Math.max(this.widest(picture.rows, picture.theme.font), this.widest(picture.columns, picture.theme.font));
    return Math.min(longest + 24, width * 0.36);
  }
}

function heaviestRows(picture: Picture, column: number, count: number): number[] {
  const { weights } = picture;
  const sized = Array.from({ length: weights.rows }, (_, row) => [Math.abs(weights.at(row, column)), row] as const);
  return sized.sort((a, b) => b[0] - a[0]).slice(0, count).map(([, row]) => row);
}
