import type { Desk } from "../desk";
import type { Choice } from "../draw/theme";
import { Choices, element, Select } from "../element";
import { can, type Recording } from "../recording";
import type { State, Store } from "../state";
import type { Language, Words } from "../words";
import { name } from "./prediction";

export interface Setting {
  language: Language;
  theme: Choice;
}

/** Whose attention it is, on which text, beside what; and how the page itself looks. */
export class HeaderPanel {
  readonly element: HTMLElement;
  private readonly title = element("h1", {});
  private readonly facts = element("p", { class: "mf-facts" });
  private readonly texts: Select;
  private readonly other: Select;
  private readonly swap: HTMLButtonElement;
  private readonly form: HTMLElement;
  private readonly input = element("textarea", { rows: 2, spellcheck: "false" });

  constructor(
    private readonly desk: Desk,
    store: Store,
    private readonly words: Words,
    setting: Setting,
    change: (setting: Setting) => void,
    record: (text: string) => Promise<void>,
  ) {
    const languages = new Choices(words.language, [{ value: "en", label: "English" }, { value: "ko", label: "한국어" }], (value) =>
      change({ ...setting, language: value as Language }),
    );
    languages.set(setting.language);
    const theme = new Select(words.theme, (value) => change({ ...setting, theme: value as Choice }));
    theme.set((["auto", "light", "dark"] as const).map((value) => ({ value, label: words.themes[value] })), setting.theme);
    this.texts = new Select(words.recording, (recording) => store.set({ recording }));
    this.other = new Select(words.compare, (other) => store.set({ other: other || null, difference: false }));
    this.swap = element("button", { type: "button", class: "mf-button", onclick: () => {
      const { recording, other } = store.state;
      if (other) store.set({ recording: other, other: recording });
    } }, words.swap);
    const send = element("button", { type: "submit", class: "mf-button mf-strong" }, words.look);
    this.input.setAttribute("aria-label", words.another);
    const form = element("form", { class: "mf-row" }, this.input, send);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.input.value.trim() || send.disabled) return;
      send.disabled = true;
      void record(this.input.value).finally(() => (send.disabled = false));
    });
    this.form = element("details", { class: "mf-another" }, element("summary", {}, words.another), form);
    this.element = element(
      "div",
      { class: "mf-header" },
      element(
        "div",
        { class: "mf-row mf-between" },
        element("div", { class: "mf-named" }, this.title, this.facts),
        element("div", { class: "mf-row" }, languages.element, theme.element),
      ),
      element("div", { class: "mf-row mf-texts" }, this.texts.element, this.other.element, this.swap, this.form),
    );
  }

  show(state: State, recording: Recording): void {
    const { words, desk } = this;
    const { model } = recording;
    this.title.textContent = model.name;
    const count = model.parameters >= 1e9 ? `${(model.parameters / 1e9).toFixed(1)} B` : model.parameters >= 1e6 ? `${(model.parameters / 1e6).toFixed(1)} M` : model.parameters.toLocaleString("en");
    this.facts.textContent = [model.family, words.kinds[model.kind] ?? model.kind, words.parameters(count)].filter(Boolean).join(" · ");
    const options = desk.recordings.map((each) => ({ value: each.id, label: name(each) }));
    this.texts.set(options, recording.id);
    const others = options.filter(({ value }) => value !== recording.id);
    this.other.set([{ value: "", label: words.nothing }, ...others], state.other ?? "");
    this.other.element.hidden = desk.recordings.length < 2;
    this.swap.hidden = state.other === null;
    this.form.hidden = !can(recording, "record") || Object.values(recording.sequences).some(({ grid }) => grid);
  }
}
