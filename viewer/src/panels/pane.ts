import type { Desk } from "../desk";
import { lettered } from "../draw/lettering";
import type { Theme } from "../draw/theme";
import { element, Select } from "../element";
import { saveJson, savePng, saveSvg } from "../export";
import { attentionOf, type Recording } from "../recording";
import type { State, Store, ViewName } from "../state";
import { LinesView } from "../views/lines";
import { MatrixView } from "../views/matrix";
import { PictureView } from "../views/picture";
import { PositionsView } from "../views/positions";
import { TextView } from "../views/text";
import { percent, type Chosen, type Hearing, type Picture, type View } from "../views/view";
import { Axis } from "../weights/axis";
import { BRIGHTNESSES, type Brightness } from "../weights/pyramid";
import { regroup } from "../weights/regroup";
import type { Words } from "../words";
import { Legend } from "./legend";
import { name } from "./prediction";

/** One picture of attention with its reading line, its legend and its exports. */
export class Pane {
  readonly element: HTMLElement;
  private readonly caption = element("p", { class: "mf-caption" });
  private readonly stage = element("div", { class: "mf-view" });
  private readonly readout = element("p", { class: "mf-readout", "aria-live": "polite" });
  private readonly legend = new Legend();
  private readonly brightness: Select;
  private readonly views = new Map<ViewName, View>();
  private view: View | null = null;
  private viewName: ViewName | null = null;
  private picture: Picture | null = null;
  private shown = "";
  private wanted = "";
  private state: State | null = null;
  private recording: Recording | null = null;

  constructor(
    private readonly desk: Desk,
    private readonly store: Store,
    private readonly words: Words,
    private readonly open: () => void,
    private readonly fail: (error: unknown) => void,
  ) {
    const button = (kind: string, label: string, act: (view: View, picture: Picture) => void) =>
      element("button", { type: "button", class: "mf-quiet", "aria-label": label, title: label, onclick: () => this.view && this.picture && act(this.view, this.picture) }, kind);
    const file = () => `${this.recording?.model.name}-${this.state?.attention}-${this.state?.what === "head" ? `${this.state.layer}-${this.state.head}` : this.state?.what}`;
    const exports = element(
      "div",
      { class: "mf-exports", role: "group", "aria-label": words.exporting },
      button("SVG", words.exportAs("SVG"), (view, picture) => saveSvg(view, picture, file())),
      button("PNG", words.exportAs("PNG"), (view, picture) => savePng(view, picture, file())),
      button("JSON", words.exportData, (_, picture) => this.recording && this.state && saveJson(this.recording, this.state, picture, file())),
    );
    this.brightness = new Select(words.brightness, (value) => store.set({ brightness: value as Brightness }));
    const scale = element("div", { class: "mf-row" }, this.legend.element, this.brightness.element);
    const foot = element("div", { class: "mf-row mf-between mf-foot" }, scale, exports);
    this.element = element("div", { class: "mf-pane" }, this.caption, this.stage, this.readout, foot);
  }

  /** @param minus the recording whose weights are subtracted, if any */
  async show(state: State, recording: Recording, minus: Recording | null, theme: Theme, named: boolean): Promise<void> {
    this.state = state;
    this.recording = recording;
    this.caption.hidden = !named;
    this.caption.textContent = minus ? `${this.words.difference}: ${this.words.differenceHint}` : name(recording);
    const { attention, layer, head, what, view, target, shown } = state;
    // Beside its own row's largest, every difference would look large.
    const brightness = minus ? "head" : state.brightness;
    this.brightness.set(BRIGHTNESSES.map((value) => ({ value, label: this.words.brightnesses[value] })), brightness);
    this.brightness.element.hidden = view === "positions" || view === "picture" || minus !== null;
    this.legend.element.hidden = view === "positions";
    const key = JSON.stringify([recording.id, minus?.id, attention, layer, head, what, view, target, state.token, shown, brightness, theme.dark]);
    if (key === this.shown) return this.choose();
    this.wanted = key;
    this.stage.setAttribute("aria-busy", "true");
    try {
      const [own, others] = await Promise.all([this.desk.weights(recording, state), minus ? this.desk.weights(minus, state) : null]);
      if (this.wanted !== key) return;
      const { queries, keys } = attentionOf(recording, attention);
      const [from, to] = [recording.sequences[queries], recording.sequences[keys]];
      const rows = Axis.of(from, shown);
      const columns = from === to ? rows : Axis.of(to, shown);
      const weights = regroup(own, rows, columns);
      this.picture = {
        weights: others ? weights.minus(regroup(others, rows, columns)) : weights,
        rows,
        columns,
        from,
        to,
        brightness,
        theme,
        words: this.words,
      };
      this.shown = key;
      this.use(view);
      this.view?.show(this.picture, this.chosen());
      this.legend.show(this.picture, this.words);
      this.read(this.chosen());
    } catch (error) {
      if (this.wanted === key) this.fail(error);
    } finally {
      if (this.wanted === key) this.stage.removeAttribute("aria-busy");
    }
  }

  /** The text of a token as the picture shows it. */
  label(side: "rows" | "columns", token: number): string {
    const axis = this.picture?.[side];
    const label = axis?.labels[axis.labelOf[token] ?? -1];
    return label ? lettered(label) : "";
  }

  private choose(): void {
    this.view?.choose(this.chosen());
    this.read(this.chosen());
  }

  private chosen(): Chosen {
    const { picture, state } = this;
    const place = (axis: Axis | undefined, token: number | null | undefined) => {
      const found = token === null || token === undefined ? -1 : (axis?.labelOf[token] ?? -1);
      return found < 0 ? null : found;
    };
    return { row: place(picture?.rows, state?.query), column: place(picture?.columns, state?.key) };
  }

  private use(name: ViewName): void {
    const { picture } = this;
    const empty = !picture || picture.rows.labels.length === 0 || picture.columns.labels.length === 0;
    if (empty) {
      this.view = this.viewName = null;
      this.stage.replaceChildren(element("p", { class: "mf-small" }, this.words.empty));
      return;
    }
    if (this.viewName === name) return;
    this.viewName = name;
    this.view = this.views.get(name) ?? this.make(name);
    this.views.set(name, this.view);
    this.stage.replaceChildren(this.view.element);
  }

  private make(name: ViewName): View {
    const { words } = this;
    const hearing: Hearing = {
      choose: ({ row, column }) =>
        this.store.set({
          query: row === null ? null : (this.picture?.rows.labels[row]?.tokens[0] ?? null),
          key: column === null ? null : (this.picture?.columns.labels[column]?.tokens[0] ?? null),
        }),
      point: (chosen) => this.read(chosen ?? this.chosen()),
      open: this.open,
    };
    if (name === "matrix") return new MatrixView(hearing, words);
    if (name === "text") return new TextView(hearing, words.textLabel);
    if (name === "picture") return new PictureView(hearing, words.pictureLabel);
    if (name === "positions") return new PositionsView(hearing);
    return new LinesView(hearing, words.linesLabel);
  }

  /** The chosen tokens and their weights in words: what the picture says, for those who read and those who listen. */
  private read({ row, column }: Chosen): void {
    const { picture, words } = this;
    if (!picture || !this.view) {
      this.readout.textContent = "";
      return;
    }
    const { weights, rows, columns } = picture;
    if (this.viewName === "positions") {
      const mean = column === null ? 0 : Array.from({ length: weights.rows }, (_, index) => weights.at(index, column)).reduce((a, b) => a + b, 0) / weights.rows;
      this.readout.textContent = column === null || row !== null ? "" : `${lettered(columns.labels[column])} ${percent(mean)}`;
      return;
    }
    const from = (index: number) => lettered(rows.labels[index]);
    const to = (index: number) => lettered(columns.labels[index]);
    if (row !== null && column !== null) this.readout.textContent = `${words.looksAt(from(row), to(column))}: ${percent(weights.at(row, column))}`;
    else if (row !== null) {
      const parts = weights.strongest(row, 5).map((index) => `${to(index)} ${percent(weights.at(row, index))}`);
      this.readout.textContent = words.looksAt(from(row), parts.join("   "));
    } else if (column !== null) {
      const all = Array.from({ length: weights.rows }, (_, index) => [weights.at(index, column), index] as const);
      const parts = all.sort((a, b) => b[0] - a[0]).slice(0, 5).map(([weight, index]) => `${from(index)} ${percent(weight)}`);
      this.readout.textContent = words.lookedAt(to(column), parts.join("   "));
    } else this.readout.textContent = this.viewName === "picture" ? words.chooseInPicture : words.chooseToken;
  }
}
