import type { Desk } from "../desk";
import { visible } from "../draw/lettering";
import type { Theme } from "../draw/theme";
import { Check, Choices, element, Select } from "../element";
import { attentionOf, can, comparable, SCORES, type Attention, type Recording, type Written } from "../recording";
import type { State, Store, ViewName, What } from "../state";
import { LensView } from "../views/lens";
import { percent } from "../views/view";
import { WrittenView } from "../views/written";
import { COMMAND, type Words } from "../words";
import { Pane } from "./pane";

const WHATS: What[] = ["head", "rollout", "gradient", "lens", "written"];
const VIEWS: ViewName[] = ["lines", "matrix", "text", "picture", "positions"];

/** The middle of the page: what is looked at, and how. */
export class StagePanel {
  readonly element: HTMLElement;
  readonly first: Pane;
  private readonly second: Pane;
  private readonly whats: Choices;
  private readonly views: Choices;
  private readonly target: Select;
  private readonly words_: Check;
  private readonly specials: Check;
  private readonly firstToken: Check;
  private readonly difference: Check;
  private readonly differenceNot = element("span", { class: "mf-small" });
  private readonly about = element("p", { class: "mf-small" });
  private readonly title = element("h2", { "aria-live": "polite" });
  private readonly headTools: HTMLElement;
  private readonly offNot: HTMLElement;
  private readonly offEffects: HTMLElement;
  private readonly switchHead: HTMLButtonElement;
  private readonly switchLayer: HTMLButtonElement;
  private readonly scores = element("dl", { class: "mf-scores" });
  private readonly panes = element("div", { class: "mf-panes" });
  private readonly tools: HTMLElement;
  private readonly others = element("div", { class: "mf-others" });
  private readonly lens: LensView;
  private readonly written: WrittenView;
  private asked = "";

  constructor(
    private readonly desk: Desk,
    private readonly store: Store,
    private readonly words: Words,
    toggle: (heads: [number, number][]) => void,
    open: () => void,
    private readonly fail: (error: unknown) => void,
  ) {
    this.whats = new Choices(words.what, WHATS.map((value) => ({ value, label: words.whats[value] })), (what) => store.set({ what: what as What }));
    this.whats.element.classList.add("mf-tabs");
    this.views = new Choices(words.view, VIEWS.map((value) => ({ value, label: words.views[value] })), (view) => store.set({ view: view as ViewName }));
    this.target = new Select(words.target, (value) => value !== "token" && store.set({ target: Number(value), token: null }));
    const shown = () => store.state.shown;
    this.words_ = new Check(words.mergeWords, (on) => store.set({ shown: { ...shown(), words: on } }));
    this.specials = new Check(words.hideSpecials, (on) => store.set({ shown: { ...shown(), specials: !on } }));
    this.firstToken = new Check(words.hideFirst, (on) => store.set({ shown: { ...shown(), first: !on } }));
    this.difference = new Check(words.difference, (on) => store.set({ difference: on }));
    this.switchHead = element("button", { type: "button", class: "mf-button", onclick: () => toggle([[store.state.layer, store.state.head]]) });
    this.switchLayer = element("button", {
      type: "button",
      class: "mf-button",
      onclick: () => {
        const { heads } = attentionOf(desk.recording(store.state.recording), store.state.attention);
        toggle(Array.from({ length: heads }, (_, head) => [store.state.layer, head]));
      },
    });
    const step = (sign: string, label: string, by: number) =>
      element("button", { type: "button", class: "mf-round", "aria-label": label, title: label, onclick: () => this.step(by) }, sign);
    this.headTools = element("div", { class: "mf-row" }, step("←", words.previousHead, -1), step("→", words.nextHead, 1), this.switchHead, this.switchLayer);
    this.offEffects = element("span", {}, ` ${words.offEffects}`);
    this.offNot = element("p", { class: "mf-small" }, `${words.offNot} `, element("code", {}, COMMAND), this.offEffects);
    this.tools = element(
      "div",
      { class: "mf-row mf-tools" },
      this.views.element,
      this.target.element,
      this.words_.element,
      this.specials.element,
      this.firstToken.element,
      this.difference.element,
      this.differenceNot,
    );
    this.first = new Pane(desk, store, words, open, fail);
    this.second = new Pane(desk, store, words, open, fail);
    this.lens = new LensView(words);
    this.written = new WrittenView(words, (token) =>
      // A token is written at the place of the one before it.
      store.set({ what: "gradient", token, query: token - 1, key: null }),
    );
    this.element = element(
      "section",
      { class: "mf-card mf-stagecard", "aria-label": words.attention },
      this.whats.element,
      element("div", { class: "mf-row mf-between mf-heading" }, this.title, this.headTools),
      this.scores,
      this.offNot,
      this.about,
      this.tools,
      this.panes,
      this.others,
    );
  }

  show(state: State, recording: Recording, other: Recording | null, off: Written | null, theme: Theme): void {
    const { words } = this;
    const attention = attentionOf(recording, state.attention);
    const weighing = state.what === "head" || state.what === "rollout" || state.what === "gradient";
    this.whats.set(state.what, (what) => allowed(recording, attention, what as What));
    this.views.set(state.view, (view) => viewsOf(recording, attention).includes(view as ViewName));
    const isOff = state.off.some(([name, layer, head]) => name === attention.name && layer === state.layer && head === state.head);
    const offInLayer = state.off.filter(([name, layer]) => name === attention.name && layer === state.layer).length;
    this.title.textContent = state.what === "head" ? words.headName(state.layer, state.head) : words.whats[state.what];
    this.headTools.hidden = state.what !== "head";
    this.switchHead.hidden = this.switchLayer.hidden = !can(recording, "off");
    this.offNot.hidden = can(recording, "off") || state.what !== "head";
    this.offEffects.hidden = !can(recording, "effects", attention.name);
    this.switchHead.textContent = isOff ? words.switchOn : words.switchOff;
    this.switchHead.setAttribute("aria-pressed", String(isOff));
    this.switchLayer.textContent = offInLayer === attention.heads ? words.switchLayerOn : words.switchLayerOff;
    this.scores.replaceChildren(...(state.what === "head" ? scoresOf(attention, state, words) : []));
    this.about.textContent = words.abouts[state.what];
    this.about.hidden = !words.abouts[state.what];
    this.tools.hidden = this.panes.hidden = !weighing;
    this.others.hidden = weighing;
    if (weighing) this.weigh(state, recording, other, attention, theme);
    else if (state.what === "written") {
      this.others.replaceChildren(this.written.element);
      const explains = (token: number) => can(recording, "gradient", attention.name) && this.desk.has("gradient", { recording: recording.id, attention: attention.name, token });
      this.written.show(recording, off, theme, explains);
    } else this.askLens(state, recording, theme);
  }

  private weigh(state: State, recording: Recording, other: Recording | null, attention: Attention, theme: Theme): void {
    const { words } = this;
    const picture = viewsOf(recording, attention).includes("picture");
    this.words_.set(state.shown.words);
    this.words_.element.hidden = picture;
    this.specials.set(!state.shown.specials);
    this.firstToken.set(!state.shown.first);
    this.firstToken.element.hidden = picture;
    this.target.element.hidden = state.what !== "gradient";
    const labels = (recording.prediction?.labels ?? []).map((label, index) => ({ value: String(index), label: visible(label) }));
    const answered = (target: string) => this.desk.has("gradient", { recording: recording.id, attention: attention.name, target: Number(target) });
    const targets = state.what === "gradient" ? labels.filter(({ value }) => answered(value)) : [];
    const { token } = state;
    if (token !== null && recording.written) {
      const text = visible(recording.sequences[recording.written.sequence].tokens[token]?.text ?? "");
      targets.push({ value: "token", label: words.tokenNumber(text, token) });
    }
    this.target.set(targets, token === null ? String(state.target) : "token");
    const matching = other !== null && comparable(recording, other, attention.name);
    this.difference.element.hidden = other === null;
    this.difference.set(state.difference && matching, !matching);
    this.differenceNot.textContent = other !== null && !matching ? words.differenceNot : "";
    const subtract = state.difference && matching;
    const two = other !== null && !subtract;
    this.panes.classList.toggle("mf-two", two);
    if (two !== this.panes.contains(this.second.element) || !this.panes.contains(this.first.element)) {
      this.panes.replaceChildren(this.first.element, ...(two ? [this.second.element] : []));
    }
    void this.first.show(state, recording, subtract ? other : null, theme, other !== null);
    if (two && other.attentions.some(({ name }) => name === attention.name)) void this.second.show(state, other, null, theme, true);
  }

  private askLens(state: State, recording: Recording, theme: Theme): void {
    if (!this.others.contains(this.lens.element)) this.others.replaceChildren(this.lens.element);
    const key = `${recording.id} ${theme.dark}`;
    if (this.asked === key) return;
    this.asked = key;
    this.desk.ask("lens", { recording: recording.id }).then(
      (rows) => this.asked === key && this.lens.show(recording, rows, theme, state.query),
      (error: unknown) => {
        this.asked = "";
        this.fail(error);
      },
    );
  }

  private step(by: number): void {
    const { state } = this.store;
    const { heads, layers } = attentionOf(this.desk.recording(state.recording), state.attention);
    const at = (state.layer * heads + state.head + by + layers * heads) % (layers * heads);
    this.store.set({ layer: Math.floor(at / heads), head: at % heads });
  }
}

export function viewsOf(recording: Recording, attention: Attention): ViewName[] {
  const grid = attention.queries === attention.keys && recording.sequences[attention.keys].grid;
  return grid ? ["picture", "lines", "matrix", "positions"] : ["lines", "matrix", "text", "positions"];
}

export function allowed(recording: Recording, attention: Attention, what: What): boolean {
  if (what === "head") return true;
  if (what === "written") return recording.written !== null;
  return can(recording, what, what === "lens" ? undefined : attention.name);
}

/** Every score of a head, and its place among all heads where it is one of the first. */
function scoresOf(attention: Attention, state: State, words: Words): HTMLElement[] {
  return SCORES.flatMap((score) => {
    const values = attention.scores[score];
    const value = values?.[state.layer]?.[state.head];
    if (!values || value === null || value === undefined) return [];
    const all = values.flat();
    const rank = 1 + all.filter((other) => (other ?? -Infinity) > value).length;
    const first = all.length >= 8 && rank <= Math.ceil(all.length * 0.03);
    return [
      element(
        "div",
        { class: first ? "mf-high" : "" },
        element("dt", {}, words.scores[score]),
        element("dd", { title: words.rank(rank, all.length) }, score === "entropy" || score === "distance" ? value.toFixed(2) : percent(value)),
        first && element("dd", { class: "mf-rank" }, words.rank(rank, all.length)),
      ),
    ];
  });
}
