/** Where answers come from: a server, a kernel, or the page itself. */
import type { Likely, Prediction, Recording, Written } from "../recording";

export interface Pair {
  query: number[];
  key: number[];
  products: number[];
  score: number;
  /** null where a position rule forbids the pair. */
  added: number | null;
  weight: number;
}

export interface Moved {
  prediction: Prediction | null;
  written: Written | null;
  /** How far the prediction moved, in the measure of `effects`. */
  moved?: number;
}

/** Every question that is answered with JSON. */
export interface Answers {
  recordings: Recording[];
  record: Recording;
  pair: Pair;
  rollout: number[][];
  gradient: { heads: number[][]; weights: number[][] };
  lens: Likely[][][];
  off: Moved;
  effects: number[][];
}

export type Question = keyof Answers;
export type Parameters = Record<string, unknown>;

/** The bytes of one layer, or of one head of it. */
export interface LayerWanted {
  recording: string;
  attention: string;
  layer: number;
  head?: number;
}

export interface Source {
  /** Whether a model answers; an exported file has none. */
  readonly live: boolean;
  /** Whether a question of `can` has an answer for these parameters; all have, where it is left out. */
  has?(question: Question, parameters: Parameters): boolean;
  ask<Q extends Question>(question: Q, parameters: Parameters): Promise<Answers[Q]>;
  layer(wanted: LayerWanted): Promise<ArrayBuffer>;
}

/** The source said no, in words meant for the reader. */
export class Refusal extends Error {}

/** It is not in the exported file. */
export class Missing extends Error {}
