import { CanvasPen, type Pen } from "../draw/pen";
import { Surface } from "../draw/surface";
import { element } from "../element";
import { ROW, Strands, TOP, type Side } from "./strands";
import type { Chosen, Hearing, Picture, Size, View } from "./view";

/** Two columns of tokens, and a line from each to what it looks at. Only what is in sight is drawn. */
export class LinesView implements View {
  private readonly surface = new Surface((context) => this.paint(context));
  private readonly space = element("div", { class: "mf-space" });
  readonly element: HTMLElement;
  private picture: Picture | null = null;
  private chosen: Chosen = { row: null, column: null };
  private pointed: Chosen | null = null;
  private side: Side = "row";
  private readonly strands = new Strands();

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
    this.strands.clear();
    this.space.style.height = `${this.size().height}px`;
    this.fit();
  }

  choose(chosen: Chosen): void {
    this.chosen = chosen;
    this.surface.redraw();
  }

  size(): Size {
    const count = this.picture ? Math.max(this.picture.rows.labels.length, this.picture.columns.labels.length) : 0;
    const width = this.picture ? this.strands.across(this.picture, this.surface.width) : 320;
    return { width, height: TOP + count * ROW + 8 };
  }

  draw(pen: Pen): void {
    if (!this.picture) return;
    const { width, height } = this.size();
    pen.rectangle(0, 0, width, height, this.picture.theme.ground);
    this.strands.draw(pen, this.picture, width, 0, Infinity, this.chosen, true);
  }

  private fit(): void {
    if (!this.picture || !this.element.clientWidth) return;
    this.surface.resize(this.element.clientWidth, Math.min(this.element.clientHeight, this.size().height));
  }

  private paint(context: CanvasRenderingContext2D): void {
    const { picture } = this;
    if (!picture) return;
    const from = this.element.scrollTop;
    const width = this.strands.across(picture, this.surface.width);
    context.save();
    context.translate(Math.floor((this.surface.width - width) / 2), -from);
    this.strands.draw(new CanvasPen(context, picture.theme.font), picture, width, from, from + this.surface.height, this.pointed ?? this.chosen, false);
    context.restore();
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
