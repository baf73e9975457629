import { Desk } from "./desk";
import { isDark, onTheme, themeOf, type Theme } from "./draw/theme";
import { element } from "./element";
import { HeadsPanel } from "./panels/heads";
import { HeaderPanel, type Setting } from "./panels/header";
import { Movements } from "./movements";
import { PairPanel } from "./panels/pair";
import { PredictionPanel } from "./panels/prediction";
import { allowed, StagePanel, viewsOf } from "./panels/stage";
import { attentionOf, can, sameHead, type Head, type Recording } from "./recording";
import { Missing } from "./source/source";
import { languageOf, start, type Options } from "./start";
import { Store, type State } from "./state";
import { COMMAND, WORDS, type Words } from "./words";

interface Panels {
  header: HeaderPanel;
  heads: HeadsPanel;
  stage: StagePanel;
  prediction: PredictionPanel;
  pair: PairPanel;
}

/** The viewer: one store of what is chosen, and the panels that show it. */
export class App {
  private readonly root = element("div", { class: "mf-viewer" });
  private readonly alert = element("div", { class: "mf-alert", role: "alert", hidden: true });
  private readonly store: Store;
  private readonly stopListening: () => void;
  private setting: Setting;
  private panels: Panels;
  private theme: Theme;
  private kind = "";
  private readonly movements: Movements;
  private effects = new Map<string, number[][]>();
  private pairShown = "";

  constructor(
    host: Element,
    private readonly desk: Desk,
    options: Options,
  ) {
    this.setting = { language: languageOf(options), theme: options.theme ?? "auto" };
    this.movements = new Movements(desk, () => this.show(), (error) => this.fail(error));
    this.store = new Store(start(desk.recordings[0], options));
    host.replaceChildren(this.root);
    this.theme = this.dress();
    this.panels = this.build();
    this.store.listen((state, before) => {
      if (state.recording !== before.recording || state.attention !== before.attention) this.settle(state, before);
      this.show();
    });
    this.stopListening = onTheme(() => this.redress());
    this.show();
  }

  close(): void {
    this.stopListening();
    this.root.remove();
  }

  private get words(): Words {
    return WORDS[this.setting.language];
  }

  private dress(): Theme {
    const dark = isDark(this.setting.theme);
    this.root.dataset.theme = dark ? "dark" : "light";
    return themeOf(this.root, dark);
  }

  private redress(): void {
    this.theme = this.dress();
    this.pairShown = "";
    this.show();
  }

  private build(): Panels {
    const { desk, store, words } = this;
    this.root.lang = this.setting.language;
    this.root.setAttribute("role", "region");
    this.root.setAttribute("aria-label", words.viewer);
    this.kind = desk.recording(store.state.recording).attentions.map(({ name }) => name).join(" ");
    this.pairShown = "";
    const fail = (error: unknown) => this.fail(error);
    const toggle = (heads: [number, number][]) => this.toggle(heads);
    const panels: Panels = {
      header: new HeaderPanel(desk, store, words, this.setting, (setting) => this.change(setting), (text) => this.record(text)),
      heads: new HeadsPanel(store, words, desk.recording(store.state.recording), toggle),
      stage: new StagePanel(desk, store, words, toggle, () => this.panels.pair.element.scrollIntoView({ block: "nearest" }), fail),
      prediction: new PredictionPanel(words, (heads) => this.switch(heads, false)),
      pair: new PairPanel(words),
    };
    const side = element("div", { class: "mf-side" }, panels.heads.element, panels.prediction.element);
    const main = element("div", { class: "mf-main" }, panels.stage.element, panels.pair.element);
    this.root.replaceChildren(panels.header.element, this.alert, element("div", { class: "mf-columns" }, side, main));
    return panels;
  }

  private change(setting: Setting): void {
    const another = setting.language !== this.setting.language;
    this.setting = setting;
    this.theme = this.dress();
    this.panels = this.build();
    this.show();
    const focused = another ? '[role="radio"][aria-checked="true"]' : ".mf-header select";
    this.root.querySelector<HTMLElement>(focused)?.focus();
  }

  private show(): void {
    const { desk, store, theme } = this;
    const { state } = store;
    const recording = desk.recording(state.recording);
    const other = state.other === null ? null : desk.recording(state.other);
    if (recording.attentions.map(({ name }) => name).join(" ") !== this.kind) this.panels = this.build();
    const attention = attentionOf(recording, state.attention);
    const { header, heads, stage, prediction } = this.panels;
    const compared = [recording, ...(other ? [other] : [])];
    this.movements.ask(state.off, compared);
    if (state.order === "change") this.askEffects(recording, attention.name);
    const effects = this.effects.get(`${recording.id} ${attention.name}`) ?? null;
    header.show(state, recording);
    heads.show(state, recording, other, effects, theme);
    const moved = (each: Recording) => (state.off.length ? this.movements.of(each) : null);
    stage.show(state, recording, other, moved(recording)?.written ?? null, theme);
    prediction.show(compared.map((each) => ({ recording: each, moved: moved(each) })), state.off, this.movements.waiting);
    this.showPair(state, recording);
  }

  /** After another recording or attention is chosen, what does not exist there is let go. */
  private settle(state: State, before: State): void {
    const recording = this.desk.recording(state.recording);
    const attention = attentionOf(recording, state.attention);
    const lengths = [attention.queries, attention.keys].map((name) => recording.sequences[name].tokens.length);
    const views = viewsOf(recording, attention);
    this.store.set({
      attention: attention.name,
      layer: Math.min(state.layer, attention.layers - 1),
      head: Math.min(state.head, attention.heads - 1),
      query: state.query !== null && state.query < lengths[0] ? state.query : null,
      key: state.key !== null && state.key < lengths[1] ? state.key : null,
      other: state.other === state.recording ? (before.recording === state.recording ? null : before.recording) : state.other,
      what: allowed(recording, attention, state.what) ? state.what : "head",
      view: views.includes(state.view) ? state.view : views[0],
      onlyLayer: null,
      token: null,
      target: Math.min(state.target, Math.max(0, (recording.prediction?.labels.length ?? 1) - 1)),
      off: state.off.filter(([name]) => recording.attentions.some((each) => each.name === name)),
    });
  }

  private toggle(heads: [number, number][]): void {
    const { state } = this.store;
    if (!can(this.desk.recording(state.recording), "off")) return;
    const wanted = heads.map(([layer, head]): Head => [state.attention, layer, head]);
    const allOff = wanted.every((head) => state.off.some((other) => sameHead(head, other)));
    this.switch(wanted, !allOff);
  }

  private switch(heads: Head[], off: boolean): void {
    const kept = this.store.state.off.filter((head) => !heads.some((other) => sameHead(head, other)));
    this.store.set({ off: off ? [...kept, ...heads] : kept });
  }

  private askEffects(recording: Recording, attention: string): void {
    const key = `${recording.id} ${attention}`;
    if (this.effects.has(key)) return;
    this.desk.ask("effects", { recording: recording.id, attention }).then(
      (effects) => {
        if (this.effects.has(key)) return;
        this.effects.set(key, effects);
        this.show();
      },
      (error: unknown) => {
        this.store.set({ order: "layer" });
        this.fail(error);
      },
    );
  }

  private showPair(state: State, recording: Recording): void {
    const { pair, stage } = this.panels;
    const { query, key } = state;
    pair.element.hidden = state.what !== "head";
    const parameters = { recording: recording.id, attention: state.attention, layer: state.layer, head: state.head, query, key };
    const wanted = JSON.stringify([parameters, state.shown.words, can(recording, "pair", state.attention)]);
    if (wanted === this.pairShown || state.what !== "head") return;
    this.pairShown = wanted;
    if (!can(recording, "pair", state.attention)) {
      const never = this.desk.live || recording.model.kind === "recurrent";
      return never ? pair.empty(this.words.pairNot) : pair.empty(this.words.pairNotHere, COMMAND);
    }
    if (query === null || key === null) return pair.empty(this.words.pairHint);
    const attention = attentionOf(recording, state.attention);
    const text = (sequence: string, token: number) => recording.sequences[sequence].tokens[token]?.text ?? "";
    this.desk.ask("pair", parameters).then(
      (answer) => {
        if (this.pairShown !== wanted) return;
        const [from, to] = [stage.first.label("rows", query), stage.first.label("columns", key)];
        pair.show(answer, from || text(attention.queries, query), to || text(attention.keys, key), this.theme);
      },
      (error: unknown) => {
        if (this.pairShown === wanted) pair.empty(this.reason(error));
      },
    );
  }

  private async record(text: string): Promise<void> {
    try {
      const recording = await this.desk.ask("record", { recording: this.store.state.recording, text });
      if (!this.desk.recordings.some(({ id }) => id === recording.id)) this.desk.recordings.push(recording);
      this.store.set({ recording: recording.id, query: null, key: null });
    } catch (error) {
      this.fail(error);
    }
  }

  private reason(error: unknown): string {
    return error instanceof Missing ? `${error.message}: ${this.words.notHere}` : error instanceof Error ? error.message : String(error);
  }

  private fail(error: unknown): void {
    this.alert.hidden = false;
    const close = element("button", { type: "button", class: "mf-quiet", "aria-label": "×", onclick: () => (this.alert.hidden = true) }, "×");
    this.alert.replaceChildren(element("span", {}, `${this.words.failed}: ${this.reason(error)}`), close);
  }
}
