/** Which tokens of a sequence are shown, and how they are grouped. */
import type { Sequence } from "../recording";

export interface Label {
  text: string;
  special: boolean;
  /** Which part of a character it is, as a fraction; empty where it is whole. */
  part: string;
  /** Indices of its tokens, ascending. */
  tokens: number[];
}

export interface Shown {
  words: boolean;
  specials: boolean;
  first: boolean;
}

export class Axis {
  /** The label that each token belongs to, or -1 where it is hidden. */
  readonly labelOf: Int32Array;

  private constructor(
    readonly labels: Label[],
    readonly length: number,
  ) {
    this.labelOf = new Int32Array(length).fill(-1);
    labels.forEach((label, index) => label.tokens.forEach((token) => (this.labelOf[token] = index)));
  }

  static of(sequence: Sequence, shown: Shown): Axis {
    const labels: Label[] = [];
    let word: number | null = null;
    sequence.tokens.forEach((token, index) => {
      const hidden = (token.special && !shown.specials) || (index === 0 && !shown.first);
      const joins = shown.words && !token.special && token.word !== null && token.word === word && labels.length > 0;
      word = hidden || token.special ? null : token.word;
      if (hidden) return;
      if (!joins) {
        const part = token.part ? `${token.part[0]}/${token.part[1]}` : "";
        labels.push({ text: token.text, special: token.special, part, tokens: [index] });
        return;
      }
      const label = labels[labels.length - 1];
      label.tokens.push(index);
      label.part = "";
      label.text = wordText(sequence, label.tokens);
    });
    return new Axis(labels, sequence.tokens.length);
  }

  /** Whether the labels are the tokens themselves, so that nothing need be computed. */
  get plain(): boolean {
    return this.labels.length === this.length;
  }
}

/** A word as it stands in the text, or its tokens one after the other where the text is not at hand. */
function wordText(sequence: Sequence, tokens: number[]): string {
  const start = sequence.tokens[tokens[0]].start;
  const end = sequence.tokens[tokens[tokens.length - 1]].end;
  // Offsets count code points, as Python does; slice() counts UTF-16 units.
  if (end > start) {
    const text = codePoints(sequence).slice(start, end).join("");
    if (text.trim()) return text;
  }
  // The tokens of one character all have its text.
  return tokens
    .map((token) => sequence.tokens[token])
    .filter(({ part }) => !part || part[0] === 1)
    .map(({ text }) => text)
    .join("");
}

const split = new WeakMap<Sequence, string[]>();

function codePoints(sequence: Sequence): string[] {
  let points = split.get(sequence);
  if (!points) split.set(sequence, (points = Array.from(sequence.text)));
  return points;
}
