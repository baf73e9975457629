import { CanvasPen } from "../draw/pen";
import { colour, css } from "../draw/scale";
import { Surface } from "../draw/surface";
import type { Theme } from "../draw/theme";
import { Choices, element } from "../element";
import type { Pair } from "../source/source";
import { percent } from "../views/view";
import type { Words } from "../words";

type Arrangement = "dimension" | "size";

const STRIP = 18;
const BARS = 110;
const LEFT = 92;

/** Why one weight is what it is: query and key, dimension by dimension, and their products that add up to the score. */
export class PairPanel {
  readonly element: HTMLElement;
  private readonly title = element("h2", {});
  private readonly note = element("p", { class: "mf-small", "aria-live": "polite" });
  private readonly arrangement: Choices;
  private readonly surface = new Surface((context) => this.paint(context));
  private readonly readout = element("p", { class: "mf-readout" });
  private readonly body: HTMLElement;
  private readonly list = element("ol", { class: "mf-dimensions" });
  private pair: Pair | null = null;
  private theme: Theme | null = null;
  private by: Arrangement = "size";

  constructor(private readonly words: Words) {
    const options = [
      { value: "size", label: words.bySize },
      { value: "dimension", label: words.byDimension },
    ];
    this.arrangement = new Choices(words.products, options, (by) => {
      this.by = by as Arrangement;
      this.arrangement.set(by);
      this.surface.redraw();
    });
    this.arrangement.set(this.by);
    this.title.textContent = words.pair;
    this.surface.canvas.setAttribute("role", "img");
    this.surface.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.surface.canvas.addEventListener("pointerleave", () => (this.readout.textContent = ""));
    this.body = element("div", { class: "mf-stage" }, this.surface.canvas, this.readout, this.list);
    this.element = element(
      "section",
      { class: "mf-card mf-pair", "aria-label": words.pair },
      element("div", { class: "mf-row mf-between" }, this.title, this.arrangement.element),
      this.note,
      this.body,
    );
    new ResizeObserver(() => this.fit()).observe(this.body);
    this.empty(words.pairHint);
  }

  /** @param command what would show it */
  empty(note: string, command = ""): void {
    this.pair = null;
    this.title.textContent = this.words.pair;
    this.note.replaceChildren(note, ...(command ? [" ", element("code", {}, command)] : []));
    this.body.hidden = true;
    this.arrangement.element.hidden = true;
  }

  show(pair: Pair, from: string, to: string, theme: Theme): void {
    const { words } = this;
    this.pair = pair;
    this.theme = theme;
    this.title.textContent = words.pairOf(from, to);
    const sum = pair.products.reduce((total, product) => total + product, 0);
    const added = pair.added ? words.addedPart(signed(pair.added)) : "";
    this.note.textContent = words.scoreLine(signed(sum), signed(pair.score), added, percent(pair.weight));
    this.surface.canvas.setAttribute("aria-label", `${words.pairOf(from, to)}: ${this.note.textContent}`);
    this.body.hidden = false;
    this.arrangement.element.hidden = false;
    const top = order(pair, "size").slice(0, 5);
    this.list.replaceChildren(
      ...top.map((i) => element("li", {}, `${words.dimension} ${i}: ${signed(pair.query[i])} × ${signed(pair.key[i])} → ${signed(pair.products[i])}`)),
    );
    this.fit();
  }

  private fit(): void {
    if (this.pair && this.body.clientWidth) this.surface.resize(this.body.clientWidth, 2 * (STRIP + 6) + BARS + 14);
  }

  private paint(context: CanvasRenderingContext2D): void {
    const { pair, theme, words } = this;
    if (!pair || !theme) return;
    const pen = new CanvasPen(context, theme.font);
    const dimensions = order(pair, this.by);
    const step = (this.surface.width - LEFT) / dimensions.length;
    const strip = (y: number, label: string, values: number[]) => {
      const top = Math.max(1e-9, ...values.map(Math.abs));
      pen.write(LEFT - 10, y + STRIP / 2, label, { size: 12, colour: theme.soft, align: "end" });
      dimensions.forEach((i, at) => {
        const shade = (255 * Math.abs(values[i])) / top;
        pen.rectangle(LEFT + at * step, y, Math.max(1, step - (step > 4 ? 1 : 0)), STRIP, css(colour(theme.scale, shade, values[i] < 0)));
      });
    };
    strip(0, words.queryVector, pair.query);
    strip(STRIP + 6, words.keyVector, pair.key);
    const [most, least] = [Math.max(0, ...pair.products), Math.min(0, ...pair.products)];
    const unit = BARS / Math.max(1e-9, most - least);
    const middle = 2 * (STRIP + 6) + 6 + most * unit;
    pen.write(LEFT - 10, middle, words.products, { size: 12, colour: theme.soft, align: "end" });
    pen.rectangle(LEFT, middle, this.surface.width - LEFT, 1, theme.rule);
    dimensions.forEach((i, at) => {
      const value = pair.products[i];
      const tall = Math.abs(value) * unit;
      const fill = css(colour(theme.scale, theme.dark ? 170 : 165, value < 0));
      pen.rectangle(LEFT + at * step, value > 0 ? middle - tall : middle, Math.max(1, step - (step > 4 ? 1.5 : 0)), tall, fill);
    });
  }

  private point(event: PointerEvent): void {
    const { pair, words } = this;
    if (!pair) return;
    const box = this.surface.canvas.getBoundingClientRect();
    const dimensions = order(pair, this.by);
    const i = dimensions[Math.floor(((event.clientX - box.left - LEFT) / (box.width - LEFT)) * dimensions.length)];
    this.readout.textContent =
      i === undefined ? "" : `${words.dimension} ${i}: ${signed(pair.query[i])} × ${signed(pair.key[i])} → ${signed(pair.products[i])}`;
  }
}

function order(pair: Pair, by: Arrangement): number[] {
  const dimensions = pair.products.map((_, i) => i);
  return by === "dimension" ? dimensions : dimensions.sort((a, b) => Math.abs(pair.products[b]) - Math.abs(pair.products[a]));
}

const signed = (value: number): string => `${value < 0 ? "−" : ""}${Math.abs(value).toFixed(Math.abs(value) < 0.1 ? 3 : 2)}`;
