import { Desk } from "./desk";
import { isDark, onSystemTheme, themeOf, type Choice, type Theme } from "./draw/theme";
import { element } from "./element";
import { HeadsPanel } from "./panels/heads";
import { HeaderPanel, type Setting } from "./panels/header";
import { PairPanel } from "./panels/pair";
import { PredictionPanel } from "./panels/prediction";
import { allowed, StagePanel, viewsOf } from "./panels/stage";
import { attentionOf, can, sameHead, type Head, type Recording } from "./recording";
import { Missing, type Moved, type Source } from "./source/source";
import { Store, type State } from "./state";
import { WORDS, type Language, type Words } from "./words";

export interface Options {
  language?: Language | "";
  theme?: Choice;
  /** What is open at first. */
  attention?: string;
  layer?: number;
  head?: number;
  view?: State["view"];
}

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
  private moved = new Map<string, Moved>();
  private movedFor = "";
  private waiting = false;
  private effects = new Map<string, number[][]>();
  private pairShown = "";

  constructor(
    host: Element,
    private readonly desk: Desk,
    options: Options,
  ) {
    const language = options.language || ((navigator.language || "").startsWith("ko") ? "ko" : "en");
    this.setting = { language, theme: options.theme ?? "auto" };
    this.store = new Store(start(desk.recordings[0], options));
    host.replaceChildren(this.root);
    this.theme = this.dress();
    this.panels = this.build();
    this.store.listen((state, before) => {
      if (state.recording !== before.recording || state.attention !== before.attention) this.settle(state, before);
      this.show();
    });
    this.stopListening = onSystemTheme(() => this.redress());
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
    this.askOff(state, recording, other);
    if (state.order === "change") this.askEffects(recording, attention.name);
    const effects = this.effects.get(`${recording.id} ${attention.name}`) ?? null;
    header.show(state, recording);
    heads.show(state, recording, other, effects, theme);
    const moved = (each: Recording) => (state.off.length ? (this.moved.get(each.id) ?? null) : null);
    stage.show(state, recording, other, moved(recording)?.written ?? null, theme);
    prediction.show([recording, ...(other ? [other] : [])].map((each) => ({ recording: each, moved: moved(each) })), state.off, this.waiting);
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

  private askOff(state: State, recording: Recording, other: Recording | null): void {
    const each = [recording, ...(other ? [other] : [])].filter((one) => can(one, "off"));
    const key = JSON.stringify([each.map(({ id }) => id), state.off]);
    if (key === this.movedFor) return;
    this.movedFor = key;
    this.waiting = state.off.length > 0;
    if (!this.waiting) return;
    const has = (one: Recording): Head[] => state.off.filter(([name]) => one.attentions.some((attention) => attention.name === name));
    Promise.all(each.map(async (one) => [one.id, await this.desk.off(one, has(one))] as const)).then(
      (found) => {
        if (this.movedFor !== key) return;
        this.moved = new Map(found);
        this.waiting = false;
        this.show();
      },
      (error: unknown) => {
        this.waiting = false;
        this.fail(error);
      },
    );
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
    if (!can(recording, "pair", state.attention)) return pair.empty(this.words.pairNot);
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
    return error instanceof Missing ? `${error.message}: ${this.words.notHere}` : said(error);
  }

  private fail(error: unknown): void {
    this.alert.hidden = false;
    const close = element("button", { type: "button", class: "mf-quiet", "aria-label": "×", onclick: () => (this.alert.hidden = true) }, "×");
    this.alert.replaceChildren(element("span", {}, `${this.words.failed}: ${this.reason(error)}`), close);
  }
}



const said = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function start(recording: Recording, options: Options): State {
  const attention = attentionOf(recording, options.attention ?? "");
  const views = viewsOf(recording, attention);
  const tokens = recording.sequences[attention.queries].tokens.length;
  return {
    recording: recording.id,
    other: null,
    difference: false,
    attention: attention.name,
    layer: Math.min(options.layer ?? 0, attention.layers - 1),
    head: Math.min(options.head ?? 0, attention.heads - 1),
    what: "head",
    // Lines tell most of a sentence, the matrix of a long text.
    view: options.view && views.includes(options.view) ? options.view : views[0] === "lines" && tokens > 64 ? "matrix" : views[0],
    query: null,
    key: null,
    shown: { words: false, specials: true, first: true },
    brightness: "row",
    order: "layer",
    reverse: false,
    onlyLayer: null,
    atLeast: 0,
    off: [],
    target: 0,
    token: null,
  };
}

/** Asks for the recordings and opens the viewer on them. */
export async function open(host: Element, source: Source, options: Options): Promise<App | null> {
  const language = options.language || ((navigator.language || "").startsWith("ko") ? "ko" : "en");
  const words = WORDS[language];
  const say = (text: string) => host.replaceChildren(element("p", { class: "mf-viewer mf-wait", role: "status" }, text));
  say(words.loading);
  try {
    const recordings = (await source.ask("recordings", {})).filter(({ attentions }) => attentions.length > 0);
    if (recordings.length) return new App(host, new Desk(source, recordings), options);
    say(words.noRecordings);
  } catch (error) {
    say(`${words.failed}: ${said(error)}`);
  }
  return null;
}
