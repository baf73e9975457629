import type { Pen } from "../draw/pen";
import { lettered, widthOf } from "../draw/lettering";
import { colour, css, inkOn } from "../draw/scale";
import { element } from "../element";
import type { Axis } from "../weights/axis";
import { strength } from "../weights/pyramid";
import type { Chosen, Hearing, Picture, Size, View } from "./view";

const LETTERS = 16;
const LINE = 30;
const WIDTH = 760;

/** The text itself: choose a token, and each token is tinted by how much goes to it. */
export class TextView implements View {
  readonly element = element("div", { class: "mf-scroll mf-reading" });
  private picture: Picture | null = null;
  private chosen: Chosen = { row: null, column: null };
  private fromTokens: HTMLElement[] = [];
  private toTokens: HTMLElement[] = [];

  constructor(
    private readonly hearing: Hearing,
    private readonly label: string,
  ) {
    this.element.addEventListener("keydown", this.key);
  }

  show(picture: Picture, chosen: Chosen): void {
    const { rows, columns, words, from, to } = picture;
    const had = this.element.contains(document.activeElement);
    this.picture = picture;
    this.chosen = chosen;
    const one = from === to;
    const [first, fromTokens] = this.block(rows, this.label, (index) => this.hearing.choose({ row: index, column: null }));
    this.fromTokens = fromTokens;
    if (one) {
      this.toTokens = fromTokens;
      this.element.replaceChildren(first);
    } else {
      const [second, toTokens] = this.block(columns, words.key, (index) => this.hearing.choose({ ...this.chosen, column: index }));
      this.toTokens = toTokens;
      const heading = (text: string) => element("p", { class: "mf-small" }, text);
      this.element.replaceChildren(heading(words.query), first, heading(words.key), second);
    }
    this.paint();
    if (had) this.current()?.focus();
  }

  choose(chosen: Chosen): void {
    const had = this.element.contains(document.activeElement);
    this.chosen = chosen;
    this.paint();
    if (had) this.current()?.focus();
  }

  private current(): HTMLElement | undefined {
    return this.fromTokens[this.chosen.row ?? 0];
  }

  private block(axis: Axis, label: string, act: (index: number) => void): [HTMLElement, HTMLElement[]] {
    const box = element("div", { class: "mf-tokens", role: "listbox", "aria-label": label });
    const tokens = axis.labels.map((entry, index) => {
      const token = element("span", { class: entry.special ? "mf-token mf-special" : "mf-token", role: "option", tabindex: -1 }, lettered(entry));
      token.addEventListener("click", () => act(index));
      token.addEventListener("pointerenter", () => this.hearing.point(this.pointing(axis, index)));
      token.addEventListener("pointerleave", () => this.hearing.point(null));
      return token;
    });
    // A plain array of pieces keeps thousands of tokens to one change of the page.
    box.append(...tokens);
    return [box, tokens];
  }

  private pointing(axis: Axis, index: number): Chosen {
    if (this.chosen.row === null) return { row: index, column: null };
    return axis === this.picture?.rows && this.fromTokens !== this.toTokens ? { row: index, column: null } : { row: this.chosen.row, column: index };
  }

  private paint(): void {
    const { picture, chosen } = this;
    if (!picture) return;
    this.fromTokens.forEach((token, index) => {
      token.tabIndex = index === (chosen.row ?? 0) ? 0 : -1;
      token.setAttribute("aria-selected", String(index === chosen.row));
    });
    this.toTokens.forEach((token, index) => {
      const [fill, ink] = this.shade(picture, index);
      token.style.backgroundColor = fill;
      token.style.color = ink;
      token.classList.toggle("mf-chosen", this.toTokens === this.fromTokens ? index === chosen.row : index === chosen.column);
    });
    if (this.toTokens !== this.fromTokens) this.fromTokens.forEach((token, index) => token.classList.toggle("mf-chosen", index === chosen.row));
  }

  private shade(picture: Picture, index: number): [string, string] {
    const { weights, theme, brightness } = picture;
    const { row } = this.chosen;
    if (row === null || row >= weights.rows) return ["", ""];
    const at = row * weights.columns + index;
    const share = strength(weights, row, weights.shares[at], brightness);
    if (share < 1) return ["", ""];
    const fill = colour(theme.scale, share, weights.signs?.[at] === 1);
    return [css(fill), inkOn(fill)];
  }

  size(): Size {
    let height = 0;
    this.lay((_, y) => (height = y));
    return { width: WIDTH + 32, height: height + LINE + 8 };
  }

  draw(pen: Pen): void {
    const { picture } = this;
    if (!picture) return;
    const { width, height } = this.size();
    pen.rectangle(0, 0, width, height, picture.theme.ground);
    this.lay((x, y, text, letters, index) => {
      const [fill, ink] = this.shade(picture, index);
      if (fill) pen.rectangle(x, y - 12, letters + 8, 24, fill);
      if (index === this.chosen.row) pen.frame(x, y - 12, letters + 8, 24, picture.theme.accent, 1.5);
      pen.write(x + 4, y, text, { size: LETTERS, colour: ink || picture.theme.ink });
    });
  }

  /** Lines of text broken by width, for the export. */
  private lay(place: (x: number, y: number, text: string, letters: number, index: number) => void): void {
    const { picture } = this;
    let [x, y] = [16, 16 + LINE / 2];
    picture?.columns.labels.forEach((label, index) => {
      const text = lettered(label);
      const letters = widthOf(text, LETTERS, picture.theme.font);
      if (x + letters + 8 > WIDTH && x > 16) [x, y] = [16, y + LINE];
      place(x, y, text, letters, index);
      x += letters + 12;
    });
  }

  private readonly key = (event: KeyboardEvent): void => {
    const { picture, chosen } = this;
    if (!picture || event.ctrlKey || event.metaKey || event.altKey) return;
    const last = picture.rows.labels.length - 1;
    const at = chosen.row ?? -1;
    const steps: Record<string, number> = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: last };
    if (event.key in steps) this.hearing.choose({ row: Math.max(0, Math.min(last, steps[event.key])), column: null });
    else if (event.key === "Escape") this.hearing.choose({ row: null, column: null });
    else if (event.key === "Enter") this.hearing.open();
    else return;
    event.preventDefault();
  };
}
