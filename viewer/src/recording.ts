/** What Python recorded of one forward pass; docs/viewer-format.md is the contract. */

export type Kind = "encoder" | "decoder" | "encoder-decoder" | "vision" | "recurrent";

export interface Token {
  text: string;
  start: number;
  end: number;
  word: number | null;
  special: boolean;
  /** The k-th of n tokens that together are one character, counted from 1. */
  part?: [number, number];
}

export interface Sequence {
  text: string;
  tokens: Token[];
  grid?: [number, number];
  picture?: string;
}

export const SCORES = ["entropy", "distance", "previous", "next", "self", "first", "separator", "induction"] as const;
export type Score = (typeof SCORES)[number];

export interface Attention {
  name: string;
  queries: string;
  keys: string;
  layers: number;
  heads: number;
  scores: Partial<Record<Score, (number | null)[][]>>;
  thumbnail: { size: number; data: string };
  /** Which questions have an answer for this attention; all of the recording's where it is not said. */
  can?: string[];
}

export interface Prediction {
  labels: string[];
  probabilities: number[];
  of: string;
  /** The token that it is about. */
  sequence?: string;
  token?: number;
}

export type Likely = [text: string, probability: number];

export interface Written {
  sequence: string;
  probabilities: (number | null)[];
  likeliest: (Likely[] | null)[];
  /** The first token that the model wrote itself. */
  from?: number;
}

export interface Recording {
  format: string;
  id: string;
  model: { name: string; family: string; kind: Kind; parameters: number };
  sequences: Record<string, Sequence>;
  attentions: Attention[];
  prediction: Prediction | null;
  written: Written | null;
  can: string[];
}

/** A head of one kind of attention; counted from 0, as in Python. */
export type Head = [attention: string, layer: number, head: number];

export const sameHead = (a: Head, b: Head): boolean => a[0] === b[0] && a[1] === b[1] && a[2] === b[2];

export function attentionOf(recording: Recording, name: string): Attention {
  return recording.attentions.find((attention) => attention.name === name) ?? recording.attentions[0];
}

/** Whether a question has an answer, for one attention or for the recording as a whole. */
export function can(recording: Recording, question: string, attention?: string): boolean {
  if (!recording.can.includes(question)) return false;
  const own = attention === undefined ? undefined : recording.attentions.find(({ name }) => name === attention)?.can;
  return own === undefined || own.includes(question);
}

/**
 * Whether weights of two recordings can be subtracted: as many tokens, and at least half of them the same, as where a
 * word was put in place of another.
 */
export function comparable(a: Recording, b: Recording, attention: string): boolean {
  const [one, other] = [a, b].map((recording) => recording.attentions.find(({ name }) => name === attention));
  if (!one || !other || one.layers !== other.layers || one.heads !== other.heads) return false;
  return (["queries", "keys"] as const).every((side) => {
    const [left, right] = [a.sequences[one[side]].tokens, b.sequences[other[side]].tokens];
    return left.length === right.length && 2 * left.filter((token, index) => token.text === right[index].text).length >= left.length;
  });
}
