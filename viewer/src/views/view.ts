import type { Pen } from "../draw/pen";
import type { Theme } from "../draw/theme";
import type { Sequence } from "../recording";
import type { Axis } from "../weights/axis";
import type { Brightness } from "../weights/pyramid";
import type { Weights } from "../weights/weights";
import type { Words } from "../words";

/** One picture of attention, ready to be drawn in any of the views. */
export interface Picture {
  weights: Weights;
  rows: Axis;
  columns: Axis;
  from: Sequence;
  to: Sequence;
  brightness: Brightness;
  theme: Theme;
  words: Words;
}

/** What is chosen, as rows and columns of the picture. */
export interface Chosen {
  row: number | null;
  column: number | null;
}

export interface Size {
  width: number;
  height: number;
}

export interface View {
  readonly element: HTMLElement;
  show(picture: Picture, chosen: Chosen): void;
  choose(chosen: Chosen): void;
  /** The whole picture for export, whatever part of it is on the screen. */
  size(): Size;
  draw(pen: Pen): void;
}

/** What a view tells: what was chosen, what is pointed at, and that the pair is wanted. */
export interface Hearing {
  choose(chosen: Chosen): void;
  point(chosen: Chosen | null): void;
  open(): void;
}

export const percent = (value: number): string => {
  const size = Math.abs(value);
  const digits = size === 0 || size >= 0.0995 ? 2 : size >= 0.00095 ? 3 : 4;
  const text = size > 0 && size < 0.00005 ? "<0.0001" : size.toFixed(digits);
  return value < 0 ? `−${text}` : text;
};
