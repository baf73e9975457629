import { visible } from "../draw/lettering";
import { colour, css, inkOn } from "../draw/scale";
import type { Theme } from "../draw/theme";
import { element } from "../element";
import type { Likely, Recording } from "../recording";
import type { Words } from "../words";
import { bar } from "./written";

const CELL = 86;

/** Logit lens: a row a layer, a column a token, each cell the likeliest next token there (nostalgebraist 2020). */
export class LensView {
  private readonly table = element("table", { class: "mf-lens" });
  private readonly range = element("span", { class: "mf-small" });
  private readonly detail = element("div", { class: "mf-expected", "aria-live": "polite" });
  readonly element: HTMLElement;
  private first = 0;
  private rows: Likely[][][] = [];
  private recording: Recording | null = null;
  private theme: Theme | null = null;
  private cell: [number, number] = [0, 0];

  constructor(private readonly words: Words) {
    const step = (sign: string, label: string, by: number) =>
      element("button", { type: "button", class: "mf-round", "aria-label": label, title: label, onclick: () => this.move(by) }, sign);
    const tools = element("div", { class: "mf-row" }, step("←", words.earlier, -1), step("→", words.later, 1), this.range);
    this.element = element("div", { class: "mf-stage" }, tools, element("div", { class: "mf-scroll" }, this.table), this.detail);
    this.table.addEventListener("keydown", this.key);
    new ResizeObserver(() => this.recording && this.draw()).observe(this.element);
  }

  show(recording: Recording, rows: Likely[][][], theme: Theme, token: number | null): void {
    this.recording = recording;
    this.rows = rows;
    this.theme = theme;
    const tokens = rows[0]?.length ?? 0;
    if (token !== null && (token < this.first || token >= this.first + this.count())) this.first = Math.max(0, token - 2);
    this.first = Math.max(0, Math.min(this.first, tokens - this.count()));
    this.cell = [rows.length - 1, Math.max(this.first, token ?? this.first)];
    this.draw();
  }

  private count(): number {
    return Math.max(2, Math.floor(((this.element.clientWidth || 700) - 60) / CELL));
  }

  private move(by: number): void {
    const tokens = this.rows[0]?.length ?? 0;
    this.first = Math.max(0, Math.min(tokens - this.count(), this.first + by * this.count()));
    this.cell = [this.cell[0], this.first];
    this.draw();
  }

  private draw(): void {
    const { recording, rows, theme } = this;
    if (!recording || !theme || !rows.length) return;
    const had = this.table.contains(document.activeElement);
    const sequence = recording.sequences[recording.written?.sequence ?? Object.keys(recording.sequences)[0]];
    const last = Math.min(rows[0].length, this.first + this.count());
    this.range.textContent = this.words.tokensRange(this.first, last - 1, rows[0].length);
    const head = element("tr", {}, element("th", { scope: "col" }, this.words.layer));
    for (let token = this.first; token < last; token++) head.append(element("th", { scope: "col" }, visible(sequence.tokens[token]?.text ?? "")));
    const body = element("tbody", {});
    // The last layer stands on top: it is the prediction itself.
    for (let layer = rows.length - 1; layer >= 0; layer--) {
      const line = element("tr", {}, element("th", { scope: "row" }, String(layer)));
      for (let token = this.first; token < last; token++) {
        const [text, probability] = rows[layer][token]?.[0] ?? ["", 0];
        const cell = element("td", { tabindex: -1, "data-layer": layer, "data-token": token }, visible(text));
        const fill = colour(theme.scale, 235 * probability);
        cell.style.backgroundColor = css(fill);
        cell.style.color = inkOn(fill);
        cell.addEventListener("focus", () => this.tell(layer, token));
        cell.addEventListener("click", () => cell.focus());
        line.append(cell);
      }
      body.append(line);
    }
    this.table.replaceChildren(element("thead", {}, head), body);
    this.cell[1] = Math.max(this.first, Math.min(last - 1, this.cell[1]));
    this.tell(...this.cell);
    if (had) this.current()?.focus();
  }

  private current(): HTMLElement | null {
    return this.table.querySelector<HTMLElement>(`td[data-layer="${this.cell[0]}"][data-token="${this.cell[1]}"]`);
  }

  private tell(layer: number, token: number): void {
    const before = this.current();
    if (before) before.tabIndex = -1;
    this.cell = [layer, token];
    const now = this.current();
    if (now) now.tabIndex = 0;
    const list = element("ol", {});
    for (const [text, probability] of this.rows[layer]?.[token] ?? []) list.append(bar(visible(text), probability, false));
    this.detail.replaceChildren(element("p", {}, this.words.layerToken(layer, token)), list);
  }

  private readonly key = (event: KeyboardEvent): void => {
    const steps: Record<string, [number, number]> = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const layer = Math.max(0, Math.min(this.rows.length - 1, this.cell[0] + step[0]));
    const token = Math.max(0, Math.min(this.rows[0].length - 1, this.cell[1] + step[1]));
    if (token < this.first || token >= this.first + this.count()) {
      this.first = Math.max(0, Math.min(this.rows[0].length - this.count(), this.first + step[1]));
      this.cell = [layer, token];
      this.draw();
    } else this.tell(layer, token);
    this.current()?.focus();
  };
}
