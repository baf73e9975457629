import { CanvasPen, type Pen } from "../draw/pen";
import { fitted, lettered } from "../draw/lettering";
import { colour, css } from "../draw/scale";
import { Surface } from "../draw/surface";
import { element } from "../element";
import { positions, type Positions } from "../weights/positions";
import type { Chosen, Hearing, Picture, Size, View } from "./view";

const REACH = 16;
const CHART = 150;
const LETTERS = 12;
const LEFT = 44;

/** Averages over the text: how much goes to each distance, and how much each token receives. */
export class PositionsView implements View {
  private readonly surface = new Surface((context) => this.paint(context));
  private readonly table = element("div", { class: "mf-unseen" });
  readonly element = element("div", { class: "mf-stage" });
  private picture: Picture | null = null;
  private found: Positions | null = null;

  constructor(hearing: Hearing) {
    this.surface.canvas.setAttribute("aria-hidden", "true");
    this.element.append(this.surface.canvas, this.table);
    this.surface.canvas.addEventListener("pointermove", (event) => hearing.point(this.find(event)));
    this.surface.canvas.addEventListener("pointerleave", () => hearing.point(null));
    new ResizeObserver(() => this.fit()).observe(this.element);
  }

  show(picture: Picture): void {
    this.picture = picture;
    this.found = positions(picture.weights, this.reach(picture));
    this.tell(picture, this.found);
    this.fit();
  }

  choose(): void {}

  size(): Size {
    return { width: 760, height: this.height() };
  }

  draw(pen: Pen): void {
    const { width, height } = this.size();
    if (this.picture) pen.rectangle(0, 0, width, height, this.picture.theme.ground);
    this.strokes(pen, width);
  }

  private reach(picture: Picture): number {
    return Math.max(1, Math.min(REACH, Math.max(picture.weights.rows, picture.weights.columns) - 1));
  }

  private height(): number {
    const names = this.picture && this.picture.columns.labels.length <= 60 ? 96 : 30;
    return 2 * (CHART + 34) + 34 + names;
  }

  private fit(): void {
    if (this.picture && this.element.clientWidth) this.surface.resize(this.element.clientWidth, this.height());
  }

  private paint(context: CanvasRenderingContext2D): void {
    if (this.picture) this.strokes(new CanvasPen(context, this.picture.theme.font), this.surface.width);
  }

  private strokes(pen: Pen, width: number): void {
    const { picture, found } = this;
    if (!picture || !found) return;
    const { theme, words, columns } = picture;
    const bar = css(colour(theme.scale, theme.dark ? 165 : 160));
    const below = css(colour(theme.scale, 150, true));
    const title = (y: number, text: string) => pen.write(0, y, text, { size: 13, colour: theme.ink, weight: 600 });
    const axis = (base: number, top: number) => {
      pen.rectangle(LEFT, base, width - LEFT, 1, theme.rule);
      pen.write(LEFT - 8, base - CHART + 6, shorter(top), { size: LETTERS, colour: theme.soft, align: "end" });
      pen.write(LEFT - 8, base - 5, "0", { size: LETTERS, colour: theme.soft, align: "end" });
    };

    title(10, words.offsetsTitle);
    const values = found.offsets.map((value) => value ?? 0);
    const top = Math.max(1e-9, ...values.map(Math.abs));
    const base = 26 + CHART;
    const step = (width - LEFT) / values.length;
    const gap = Math.min(4, step * 0.2);
    values.forEach((value, i) => {
      const offset = i - found.reach;
      const tall = (Math.abs(value) / top) * (CHART - 4);
      if (tall > 0) pen.rectangle(LEFT + i * step + gap / 2, base - tall, step - gap, tall, value < 0 ? below : bar);
      const every = step < 24 ? 4 : step < 34 ? 2 : 1;
      if (offset % every === 0) {
        const text = offset > 0 ? `+${offset}` : offset < 0 ? `−${-offset}` : "0";
        pen.write(LEFT + (i + 0.5) * step, base + 14, text, { size: LETTERS, colour: offset === 0 ? theme.ink : theme.soft, align: "middle" });
      }
    });
    axis(base, top);

    title(base + 50, words.receivedTitle);
    const under = base + 64 + CHART;
    const most = Math.max(1e-9, ...Array.from(found.received, Math.abs));
    const each = (width - LEFT) / Math.max(1, found.received.length);
    const space = each > 6 ? 2 : 0;
    found.received.forEach((value, i) => {
      const tall = (Math.abs(value) / most) * (CHART - 4);
      pen.rectangle(LEFT + i * each + space / 2, under - tall, Math.max(1, each - space), tall, value < 0 ? below : bar);
      if (columns.labels.length > 60 || each < 13) return;
      const text = fitted(lettered(columns.labels[i]), LETTERS, theme.font, 84);
      pen.write(LEFT + (i + 0.5) * each, under + 8, text, { size: LETTERS, colour: theme.soft, align: "end", upwards: true });
    });
    axis(under, most);
  }

  private find(event: MouseEvent): Chosen | null {
    const { found } = this;
    if (!found) return null;
    const box = this.surface.canvas.getBoundingClientRect();
    if (event.clientY - box.top < CHART + 76) return null;
    const column = Math.floor(((event.clientX - box.left - LEFT) / (box.width - LEFT)) * found.received.length);
    return column >= 0 && column < found.received.length ? { row: null, column } : null;
  }

  private tell(picture: Picture, found: Positions): void {
    const table = element("table", {}, element("caption", {}, picture.words.offsetsTitle));
    found.offsets.forEach((value, i) => {
      if (value !== null) table.append(element("tr", {}, element("th", { scope: "row" }, String(i - found.reach)), element("td", {}, value.toFixed(4))));
    });
    this.table.replaceChildren(table);
  }
}

const shorter = (value: number): string => (value >= 0.1 ? value.toFixed(2) : value.toPrecision(1));
