import { visible } from "../draw/lettering";
import { element } from "../element";
import type { Head, Prediction, Recording } from "../recording";
import type { Moved } from "../source/source";
import type { Words } from "../words";
import { percent } from "../views/view";

/** What the model predicts, and how that moves when heads are switched off. */
export class PredictionPanel {
  readonly element: HTMLElement;
  private readonly body = element("div", { "aria-live": "polite" });
  private readonly chips = element("div", { class: "mf-chips" });

  constructor(
    private readonly words: Words,
    private readonly restore: (heads: Head[]) => void,
  ) {
    this.element = element("section", { class: "mf-card mf-prediction", "aria-label": words.prediction }, element("h2", {}, words.prediction), this.chips, this.body);
  }

  show(each: { recording: Recording; moved: Moved | null }[], off: Head[], waiting: boolean): void {
    const { words } = this;
    this.body.classList.toggle("mf-waiting", waiting);
    this.showOff(off);
    this.body.replaceChildren(
      ...each.map(({ recording, moved }) => {
        const box = element("div", { class: "mf-predicted" });
        if (each.length > 1) box.append(element("p", { class: "mf-small" }, name(recording)));
        const { prediction } = recording;
        if (!prediction) box.append(element("p", { class: "mf-small" }, words.noPrediction));
        else this.bars(box, recording, prediction, off.length ? (moved?.prediction ?? null) : null);
        const by = off.length && moved ? (moved.moved ?? (prediction && moved.prediction ? variation(prediction, moved.prediction) : undefined)) : undefined;
        if (by !== undefined) box.append(element("p", { class: "mf-moved" }, words.moved(percent(by), prediction?.of ?? null)));
        return box;
      }),
    );
  }

  private showOff(off: Head[]): void {
    const { words } = this;
    this.chips.hidden = off.length === 0;
    const several = new Set(off.map(([attention]) => attention)).size > 1;
    const label = ([attention, layer, head]: Head) => (several ? `${words.attentions[attention] ?? attention} ` : "") + words.headShort(layer, head);
    const shown = off.slice(0, 24).map((each) =>
      element("button", { type: "button", class: "mf-chip", "aria-label": `${words.switchOn}: ${label(each)}`, onclick: () => this.restore([each]) }, `${label(each)} ×`),
    );
    const all = element("button", { type: "button", class: "mf-chip mf-strong", onclick: () => this.restore(off) }, words.allOn);
    this.chips.replaceChildren(element("span", { class: "mf-small" }, words.offCount(off.length)), ...shown, all);
  }

  private bars(box: HTMLElement, recording: Recording, before: Prediction, after: Prediction | null): void {
    const { words } = this;
    const about = before.sequence !== undefined && before.token !== undefined ? recording.sequences[before.sequence]?.tokens[before.token]?.text : undefined;
    box.append(element("p", { class: "mf-small" }, words.predicted[before.of]?.(visible(about ?? "")) ?? before.of));
    const labels = [...before.labels];
    for (const label of after?.labels ?? []) if (!labels.includes(label)) labels.push(label);
    const value = (prediction: Prediction, label: string) => {
      const at = prediction.labels.indexOf(label);
      return at < 0 ? null : prediction.probabilities[at];
    };
    const largest = before.of === "value" ? Math.max(1, ...[before, after].flatMap((each) => each?.probabilities.map(Math.abs) ?? [])) : 1;
    const list = element("ul", { class: "mf-bars" });
    for (const label of labels.slice(0, 14)) {
      const [old, now] = [value(before, label), after ? value(after, label) : null];
      list.append(line(visible(label), old, now, after !== null, largest));
    }
    box.append(list);
    if (after) {
      const key = (name: string, text: string) => element("span", {}, element("i", { class: name }), text);
      box.append(element("p", { class: "mf-small mf-legend" }, key("mf-old", words.before), key("mf-new", words.after)));
    }
  }
}

function line(label: string, before: number | null, after: number | null, both: boolean, largest: number): HTMLElement {
  const fill = (value: number | null, name: string) => {
    const made = element("span", { class: name });
    made.style.width = `${(100 * Math.min(1, Math.abs(value ?? 0) / largest)).toFixed(2)}%`;
    return made;
  };
  const track = element("span", { class: "mf-track" }, fill(before, both ? "mf-fill mf-before" : "mf-fill"), both && fill(after, "mf-fill mf-after"));
  const number = (value: number | null) => (value === null ? "–" : percent(value));
  const numbers = both ? `${number(before)} → ${number(after)}` : number(before);
  return element("li", { class: both ? "mf-bar mf-both" : "mf-bar" }, element("span", { class: "mf-name" }, label), track, element("span", { class: "mf-number" }, numbers));
}

export const name = (recording: Recording): string => `${recording.model.name} · ${beginning(Object.values(recording.sequences)[0]?.text || recording.id)}`;

const beginning = (text: string): string => visible(text.length > 64 ? `${text.slice(0, 60)}…` : text);

/** Half the sum of the differences; labels that only one side lists count whole. */
function variation(a: Prediction, b: Prediction): number {
  const labels = new Set([...a.labels, ...b.labels]);
  let sum = 0;
  for (const label of labels) {
    const [i, j] = [a.labels.indexOf(label), b.labels.indexOf(label)];
    sum += Math.abs((a.probabilities[i] ?? 0) - (b.probabilities[j] ?? 0));
  }
  return sum / 2;
}
