import { visible } from "../draw/lettering";
import { colour, css, inkOn } from "../draw/scale";
import type { Theme } from "../draw/theme";
import { element } from "../element";
import type { Recording, Written } from "../recording";
import type { Words } from "../words";
import { percent } from "./view";

/** The tokens that were read or written, each tinted by how little the model expected it. */
export class WrittenView {
  private readonly text = element("div", { class: "mf-tokens", role: "listbox" });
  private readonly detail = element("div", { class: "mf-expected", "aria-live": "polite" });
  readonly element = element("div", { class: "mf-written" }, this.text, this.detail);
  private tokens: HTMLElement[] = [];
  private at = 0;
  private kept = false;

  constructor(
    private readonly words: Words,
    private readonly explain: (token: number) => void,
  ) {
    this.text.addEventListener("keydown", this.key);
  }

  show(recording: Recording, off: Written | null, theme: Theme, explains: (token: number) => boolean): void {
    const { written } = recording;
    if (!written) {
      this.text.replaceChildren();
      this.detail.replaceChildren(this.words.nothingWritten);
      return;
    }
    const now = off ?? written;
    const had = this.text.contains(document.activeElement);
    const tokens = recording.sequences[written.sequence].tokens;
    this.text.setAttribute("aria-label", this.words.abouts.written);
    this.tokens = tokens.map((token, index) => {
      const probability = now.probabilities[index] ?? null;
      const box = element("span", {
        class: `mf-token${token.special ? " mf-special" : ""}${written.from !== undefined && index >= written.from ? " mf-own" : ""}`,
        role: "option",
        tabindex: -1,
        "aria-label": `${visible(token.text)} ${probability === null ? this.words.nothingBefore : percent(probability)}`,
      });
      box.append(visible(token.text));
      if (probability !== null) {
        const fill = colour(theme.scale, 235 * surprise(probability));
        box.style.backgroundColor = css(fill);
        box.style.color = inkOn(fill);
      }
      const act = () => this.tell(index, recording, off, explains);
      box.addEventListener("focus", () => {
        this.kept = true;
        this.rove(index);
        act();
      });
      // The pointer shows in passing, until a token is kept by a click or a key.
      box.addEventListener("pointerenter", () => this.kept || act());
      box.addEventListener("click", () => box.focus());
      return box;
    });
    this.at = Math.min(this.at, tokens.length - 1);
    this.text.replaceChildren(...this.tokens);
    if (this.tokens[this.at]) this.tokens[this.at].tabIndex = 0;
    this.tell(this.at || Math.min(1, tokens.length - 1), recording, off, explains);
    if (had) this.tokens[this.at]?.focus();
  }

  private tell(index: number, recording: Recording, off: Written | null, explains: (token: number) => boolean): void {
    const { written } = recording;
    if (!written) return;
    const why = explains(index) && written.probabilities[index] !== null;
    this.tokens.forEach((token, i) => token.setAttribute("aria-selected", String(i === index)));
    const token = recording.sequences[written.sequence].tokens[index];
    const columns: [string, Written][] = off ? [[this.words.before, written], [this.words.after, off]] : [["", written]];
    this.detail.replaceChildren(
      ...columns.map(([title, each]) => {
        const probability = each.probabilities[index] ?? null;
        const list = element("ol", {});
        for (const [text, chance] of each.likeliest[index] ?? []) {
          list.append(bar(visible(text), chance, text === token?.text));
        }
        const own = probability === null ? this.words.nothingBefore : percent(probability);
        return element("div", {}, element("p", {}, element("b", {}, visible(token?.text ?? "")), ` ${own}`), title && element("p", { class: "mf-small" }, title), list);
      }),
      ...(why ? [element("button", { type: "button", class: "mf-button", onclick: () => this.explain(index) }, this.words.whyToken)] : []),
    );
  }

  private readonly key = (event: KeyboardEvent): void => {
    const last = this.tokens.length - 1;
    if (event.key === "Escape") this.kept = false;
    const steps: Record<string, number> = { ArrowRight: this.at + 1, ArrowDown: this.at + 1, ArrowLeft: this.at - 1, ArrowUp: this.at - 1, Home: 0, End: last };
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.tokens[Math.max(0, Math.min(last, steps[event.key]))].focus();
  };

  private rove(index: number): void {
    if (this.tokens[this.at]) this.tokens[this.at].tabIndex = -1;
    this.at = index;
    this.tokens[index].tabIndex = 0;
  }
}

/** From 0 (certain) to 1 (one in a thousand or less). */
const surprise = (probability: number): number => Math.min(1, -Math.log10(Math.max(1e-3, probability)) / 3);

export function bar(text: string, value: number, marked: boolean): HTMLElement {
  const fill = element("span", { class: "mf-fill" });
  fill.style.width = `${Math.max(0.5, 100 * Math.min(1, value))}%`;
  return element(
    "li",
    { class: marked ? "mf-bar mf-marked" : "mf-bar" },
    element("span", { class: "mf-name" }, text),
    element("span", { class: "mf-track" }, fill),
    element("span", { class: "mf-number" }, percent(value)),
  );
}
