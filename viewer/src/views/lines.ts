import { CanvasPen, type Pen } from "../draw/pen";
import { fitted, lettered, widthOf } from "../draw/lettering";
import { colour, css } from "../draw/scale";
import { Surface } from "../draw/surface";
import { element } from "../element";
import type { Axis } from "../weights/axis";
import { strength } from "../weights/pyramid";
import type { Chosen, Hearing, Picture, Size, View } from "./view";

const ROW = 25;
const TOP = 30;
const LETTERS = 13.5;
/** A row draws no more lines than the eye can tell apart. */
const EACH = 40;
const FAINTEST = 0.03;

type Side = "row" | "column";

/** Two columns of tokens, and a line from each to what it looks at. Only what is in sight is drawn. */
export class LinesView implements View {
  private readonly surface = new Surface((context) => this.paint(context));
  private readonly space = element("div", { class: "mf-space" });
  readonly element: HTMLElement;
  private picture: Picture | null = null;
  private chosen: Chosen = { row: null, column: null };
  private pointed: Chosen | null = null;
  private side: Side = "row";
  private strongest: number[][] = [];
  private incoming: number[][] | null = null;

  constructor(
    private readonly hearing: Hearing,
    label: string,
  ) {
    const { canvas } = this.surface;
    this.space.append(canvas);
    this.element = element("div", { class: "mf-scroll mf-lines", tabindex: 0, role: "application", "aria-label": label }, this.space);
    this.element.addEventListener("scroll", () => this.surface.redraw(), { passive: true });
    this.element.addEventListener("keydown", this.key);
    canvas.addEventListener("pointermove", (event) => this.point(this.find(event)));
    canvas.addEventListener("pointerleave", () => this.point(null));
    canvas.addEventListener("click", (event) => this.click(this.find(event)));
    canvas.addEventListener("dblclick", () => this.hearing.open());
    new ResizeObserver(() => this.fit()).observe(this.element);
  }

  show(picture: Picture, chosen: Chosen): void {
    this.picture = picture;
    this.chosen = chosen;
    this.pointed = null;
    this.strongest = [];
    this.incoming = null;
    this.space.style.height = `${this.size().height}px`;
    this.fit();
  }

  choose(chosen: Chosen): void {
    this.chosen = chosen;
    this.surface.redraw();
  }

  size(): Size {
    const count = this.picture ? Math.max(this.picture.rows.labels.length, this.picture.columns.labels.length) : 0;
    const width = this.picture ? this.across(this.picture) : 320;
    return { width, height: TOP + count * ROW + 8 };
  }

  draw(pen: Pen): void {
    if (this.picture) this.strokes(pen, this.picture, this.across(this.picture), 0, Infinity, true);
  }

  private across(picture: Picture): number {
    const longest = Math.max(...[picture.rows, picture.columns].map((axis) => this.widest(axis, picture.theme.font)));
    return Math.min(Math.max(this.surface.width, 320), Math.round(2 * (longest + 30) + 460));
  }

  private widest(axis: Axis, font: string): number {
    let width = 40;
    // Enough of a long text to know how wide its tokens are.
    for (const label of axis.labels.slice(0, 400)) width = Math.max(width, widthOf(lettered(label), LETTERS, font));
    return Math.min(width, 220);
  }

  private fit(): void {
    if (!this.picture || !this.element.clientWidth) return;
    this.surface.resize(this.element.clientWidth, Math.min(this.element.clientHeight, this.size().height));
  }

  private paint(context: CanvasRenderingContext2D): void {
    const { picture } = this;
    if (!picture) return;
    const from = this.element.scrollTop;
    const width = this.across(picture);
    context.save();
    context.translate(Math.floor((this.surface.width - width) / 2), -from);
    this.strokes(new CanvasPen(context, picture.theme.font), picture, width, from, from + this.surface.height, false);
    context.restore();
  }

  private strokes(pen: Pen, picture: Picture, width: number, top: number, bottom: number, whole: boolean): void {
    const { rows, columns, theme, words } = picture;
    const gutter = this.gutter(picture, width);
    const first = Math.max(0, Math.floor((top - TOP) / ROW));
    const last = (axis: Axis) => Math.min(axis.labels.length - 1, Math.ceil((bottom - TOP) / ROW));
    if (whole) pen.rectangle(0, 0, width, this.size().height, theme.ground);
    const focus = whole ? this.chosen : (this.pointed ?? this.chosen);

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

  private find(event: MouseEvent): [Side, number] | null {
    const { picture } = this;
    if (!picture) return null;
    const box = this.surface.canvas.getBoundingClientRect();
    const x = event.clientX - box.left;
    const index = Math.floor((event.clientY - box.top + this.element.scrollTop - TOP) / ROW);
    const side = x < this.surface.width / 2 ? "row" : "column";
    const count = (side === "row" ? picture.rows : picture.columns).labels.length;
    return event.clientY - box.top > TOP - 4 && index >= 0 && index < count ? [side, index] : null;
  }

  private point(found: [Side, number] | null): void {
    const before = this.pointed;
    if (!found) this.pointed = null;
    else if (found[0] === "row") this.pointed = { row: found[1], column: null };
    // With a token chosen, the other side is where it looks.
    else this.pointed = { row: this.chosen.row, column: found[1] };
    if (before?.row === this.pointed?.row && before?.column === this.pointed?.column) return;
    this.surface.redraw();
    this.hearing.point(this.pointed);
  }

  private click(found: [Side, number] | null): void {
    if (!found) return this.hearing.choose({ row: null, column: null });
    const [side, index] = found;
    this.side = side;
    const again = this.chosen[side] === index && (side === "column" || this.chosen.column === null);
    if (side === "row") this.hearing.choose({ row: again ? null : index, column: null });
    else this.hearing.choose({ row: this.chosen.row, column: again ? null : index });
  }

  private readonly key = (event: KeyboardEvent): void => {
    const { picture, chosen } = this;
    if (!picture || event.ctrlKey || event.metaKey || event.altKey) return;
    const axis = this.side === "row" ? picture.rows : picture.columns;
    const at = chosen[this.side];
    const last = axis.labels.length - 1;
    const steps: Record<string, number> = { ArrowDown: (at ?? -1) + 1, ArrowUp: (at ?? 1) - 1, Home: 0, End: last, PageDown: (at ?? 0) + 12, PageUp: (at ?? 0) - 12 };
    if (event.key in steps) {
      const index = Math.max(0, Math.min(last, steps[event.key]));
      this.hearing.choose(this.side === "row" ? { row: index, column: null } : { row: chosen.row, column: index });
      this.reveal(index);
    } else if (event.key === "ArrowRight" && chosen.row !== null) {
      this.side = "column";
      const column = chosen.column ?? picture.weights.strongest(chosen.row, 1)[0] ?? 0;
      this.hearing.choose({ row: chosen.row, column });
      this.reveal(column);
    } else if (event.key === "ArrowLeft" && chosen.row !== null) {
      this.side = "row";
      this.hearing.choose({ row: chosen.row, column: null });
      this.reveal(chosen.row);
    } else if (event.key === "Escape") {
      this.side = "row";
      this.hearing.choose({ row: null, column: null });
    } else if (event.key === "Enter") {
      this.hearing.open();
    } else return;
    event.preventDefault();
  };

  private reveal(index: number): void {
    const y = TOP + index * ROW;
    const { scrollTop, clientHeight } = this.element;
    if (y - TOP < scrollTop) this.element.scrollTop = y - TOP;
    else if (y + ROW + 8 > scrollTop + clientHeight) this.element.scrollTop = y + ROW + 8 - clientHeight;
  }
}

function heaviestRows(picture: Picture, column: number, count: number): number[] {
  const { weights } = picture;
  const sized = Array.from({ length: weights.rows }, (_, row) => [Math.abs(weights.at(row, column)), row] as const);
  return sized.sort((a, b) => b[0] - a[0]).slice(0, count).map(([, row]) => row);
}
