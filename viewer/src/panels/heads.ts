import type { Theme } from "../draw/theme";
import { Check, Choices, element, Select } from "../element";
import { attentionOf, can, type Attention, type Recording } from "../recording";
import type { Order, State, Store } from "../state";
import { packed } from "../views/cells";
import { percent } from "../views/view";
import type { Words } from "../words";
import { listed, ordersOf, scoreOf, thumbnailDifference, thumbnails, type Listed } from "./order";

interface Cell {
  button: HTMLButtonElement;
  canvas: HTMLCanvasElement;
  score: HTMLElement;
}

/** All heads at a glance: layers by heads, or one list in the order of a score. */
export class HeadsPanel {
  readonly element: HTMLElement;
  private readonly kinds: Choices;
  private readonly order: Select;
  private readonly layers: Select;
  private readonly reverse: Check;
  private readonly atLeast = element("input", { type: "range", min: 0, max: 1, step: 0.05, value: 0 });
  private readonly slider: HTMLElement;
  private readonly count = element("p", { class: "mf-small", "aria-live": "polite" });
  private readonly grid = element("div", { class: "mf-heads", role: "grid" });
  private readonly clickOff: Check;
  private readonly hint = element("p", { class: "mf-small mf-hint" });
  private cells = new Map<string, Cell>();
  private clicking = false;
  private built = "";
  private painted = "";
  private arrangement = "";
  private shown: Listed[] = [];
  private columns = 1;
  private focus: [number, number] = [0, 0];

  constructor(
    private readonly store: Store,
    private readonly words: Words,
    recording: Recording,
    private readonly toggle: (heads: [number, number][]) => void,
  ) {
    const names = recording.attentions.map(({ name }) => ({ value: name, label: words.attentions[name] ?? name }));
    this.kinds = new Choices(words.attention, names, (attention) => store.set({ attention, layer: 0, head: 0, query: null, key: null, order: "layer" }));
    this.kinds.element.hidden = names.length < 2;
    this.order = new Select(words.order, (order) => store.set({ order: order as Order, atLeast: 0 }));
    this.layers = new Select(words.layers, (value) => store.set({ onlyLayer: value === "" ? null : Number(value) }));
    this.reverse = new Check(words.reverse, (reverse) => store.set({ reverse }));
    this.clickOff = new Check(words.clickOff, (on) => (this.clicking = on));
    this.atLeast.addEventListener("input", () => store.set({ atLeast: Number(this.atLeast.value) }));
    this.slider = element("label", { class: "mf-field" }, element("span", {}, words.atLeast), this.atLeast);
    this.grid.setAttribute("aria-label", words.heads);
    this.grid.addEventListener("keydown", this.key);
    this.element = element(
      "section",
      { class: "mf-card mf-headcard", "aria-label": words.heads },
      element("div", { class: "mf-row mf-between" }, element("h2", {}, words.heads), this.count),
      this.kinds.element,
      element("div", { class: "mf-row" }, this.order.element, this.layers.element),
      element("div", { class: "mf-row" }, this.reverse.element, this.slider),
      this.grid,
      this.clickOff.element,
      this.hint,
    );
  }

  /**
   * @param effects how far the prediction moves with each head alone off, once it is known
   * @param other what is compared with
   */
  show(state: State, recording: Recording, other: Recording | null, effects: number[][] | null, theme: Theme): void {
    const attention = attentionOf(recording, state.attention);
    const { words } = this;
    const differs = other && thumbnailDifference(recording, other, attention.name);
    this.kinds.set(attention.name);
    const orders = ordersOf(attention, can(recording, "effects", attention.name), differs !== null);
    this.order.set(orders.map((value) => ({ value, label: words.orders[value] })), state.order);
    const numbers = Array.from({ length: attention.layers }, (_, layer) => ({ value: String(layer), label: String(layer) }));
    this.layers.set([{ value: "", label: words.allLayers }, ...numbers], state.onlyLayer === null ? "" : String(state.onlyLayer));
    const sorted = state.order !== "layer";
    this.reverse.set(state.reverse);
    this.reverse.element.hidden = !sorted;
    this.slider.hidden = !sorted;
    this.atLeast.value = String(state.atLeast);
    const switching = can(recording, "off");
    this.clickOff.element.hidden = !switching;
    this.hint.textContent = switching ? `${words.headsHint} ${words.headsHintOff}` : words.headsHint;

    this.build(recording, attention);
    const scores = scoreOf(attention, state.order, state.order === "change" ? effects : differs);
    this.shown = listed(attention, state, scores);
    this.columns = sorted ? Math.min(6, this.shown.length || 1) : attention.heads;
    this.count.textContent = state.order === "change" && !effects ? words.measuring : words.headsShown(this.shown.length, attention.layers * attention.heads);
    this.arrange(state, scores);
    this.paint(recording, attention, theme);
    this.mark(state);
  }

  private build(recording: Recording, attention: Attention): void {
    const key = `${recording.id} ${attention.name}`;
    if (key === this.built) return;
    this.built = key;
    this.painted = this.arrangement = "";
    this.cells = new Map();
    const { size } = attention.thumbnail;
    for (let layer = 0; layer < attention.layers; layer++) {
      for (let head = 0; head < attention.heads; head++) {
        const canvas = element("canvas", { width: size, height: size, "aria-hidden": "true" });
        const score = element("span", { class: "mf-score" });
        const button = element("button", { type: "button", role: "gridcell", class: "mf-head", tabindex: -1, "data-head": `${layer},${head}` }, canvas, score);
        button.addEventListener("click", (event) => this.open(layer, head, event.altKey || this.clicking));
        button.addEventListener("focus", () => this.rove(layer, head));
        this.cells.set(`${layer},${head}`, { button, canvas, score });
      }
    }
  }

  private open(layer: number, head: number, off: boolean): void {
    if (off) this.toggle([[layer, head]]);
    else this.store.set({ layer, head, what: "head" });
  }

  private arrange(state: State, scores: (number | null)[][] | null): void {
    const key = `${state.order} ${scores !== null} ${this.shown.map(({ layer, head }) => `${layer},${head}`).join(" ")}`;
    if (key === this.arrangement) return;
    this.arrangement = key;
    const had = this.grid.contains(document.activeElement);
    const sorted = state.order !== "layer";
    this.grid.classList.toggle("mf-sorted", sorted);
    this.grid.style.setProperty("--columns", String(this.columns));
    this.grid.style.setProperty("--label", sorted ? "0px" : "1.6em");
    const rows: HTMLElement[] = [];
    if (!sorted) {
      const names = Array.from({ length: this.columns }, (_, head) => element("span", { class: "mf-axis", role: "columnheader" }, String(head)));
      rows.push(element("div", { class: "mf-line", role: "row" }, element("span", { class: "mf-axis", role: "columnheader" }, element("span", { class: "mf-unseen" }, this.words.layers)), ...names));
    }
    for (let at = 0; at < this.shown.length; at += this.columns) {
      const part = this.shown.slice(at, at + this.columns);
      const cells = part.map((entry) => {
        const cell = this.cells.get(`${entry.layer},${entry.head}`) as Cell;
        const name = this.words.headShort(entry.layer, entry.head);
        cell.score.textContent = sorted ? (entry.score === null ? name : `${name}\n${percent(entry.score)}`) : "";
        return cell.button;
      });
      const label = sorted ? null : element("span", { class: "mf-axis", role: "rowheader" }, String(part[0].layer));
      rows.push(element("div", { class: "mf-line", role: "row" }, label, ...cells));
    }
    this.grid.replaceChildren(...rows);
    if (had) this.cells.get(this.focus.join(","))?.button.focus();
  }

  private paint(recording: Recording, attention: Attention, theme: Theme): void {
    const key = `${recording.id} ${attention.name} ${theme.dark}`;
    if (key === this.painted) return;
    this.painted = key;
    const bytes = thumbnails(attention);
    const colours = packed(theme.scale.plus);
    const count = attention.thumbnail.size ** 2;
    for (const [name, { canvas }] of this.cells) {
      const [layer, head] = name.split(",").map(Number);
      const base = (layer * attention.heads + head) * count;
      const context = canvas.getContext("2d");
      if (!context) continue;
      const image = context.createImageData(canvas.width, canvas.height);
      const pixels = new Uint32Array(image.data.buffer);
      let top = 1;
      for (let i = 0; i < count; i++) top = Math.max(top, bytes[base + i]);
      // The square root lets a pattern be seen beside one large weight.
      for (let i = 0; i < count; i++) pixels[i] = colours[Math.round(255 * Math.sqrt(bytes[base + i] / top))];
      context.putImageData(image, 0, 0);
    }
  }

  private mark(state: State): void {
    const off = new Set(state.off.filter(([attention]) => attention === state.attention).map(([, layer, head]) => `${layer},${head}`));
    const current = `${state.layer},${state.head}`;
    const here = this.cells.get(this.focus.join(","))?.button.isConnected ? this.focus.join(",") : current;
    for (const [name, { button }] of this.cells) {
      const [layer, head] = name.split(",").map(Number);
      const isOff = off.has(name);
      button.classList.toggle("mf-off", isOff);
      button.setAttribute("aria-selected", String(name === current && state.what === "head"));
      button.setAttribute("aria-label", this.words.headName(layer, head) + (isOff ? `, ${this.words.isOff}` : ""));
      button.tabIndex = name === here ? 0 : -1;
    }
    if (!this.cells.get(here)?.button.isConnected && this.shown[0]) {
      const first = this.cells.get(`${this.shown[0].layer},${this.shown[0].head}`);
      if (first) first.button.tabIndex = 0;
    }
  }

  private rove(layer: number, head: number): void {
    const before = this.cells.get(this.focus.join(","));
    if (before) before.button.tabIndex = -1;
    this.focus = [layer, head];
    const now = this.cells.get(`${layer},${head}`);
    if (now) now.button.tabIndex = 0;
  }

  private readonly key = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.shown.findIndex(({ layer, head }) => layer === this.focus[0] && head === this.focus[1]);
    if (at < 0) return;
    const line = Math.floor(at / this.columns) * this.columns;
    const steps: Record<string, number> = {
      ArrowRight: at + 1,
      ArrowLeft: at - 1,
      ArrowDown: at + this.columns,
      ArrowUp: at - this.columns,
      Home: line,
      End: Math.min(line + this.columns, this.shown.length) - 1,
    };
    const next = this.shown[steps[event.key]];
    if (event.key in steps) {
      if (next) this.cells.get(`${next.layer},${next.head}`)?.button.focus();
    } else if (event.key === "x") this.toggle([this.focus]);
    else if (event.key === "X") {
      const layer = this.focus[0];
      const heads = [...this.cells.keys()].map((name) => name.split(",").map(Number) as [number, number]);
      this.toggle(heads.filter(([each]) => each === layer));
    } else return;
    event.preventDefault();
  };
}
