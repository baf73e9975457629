import type { Weights } from "./weights";

/** How strongly a weight is drawn: beside its row's largest (or the root of that share), or beside the head's largest. */
export const BRIGHTNESSES = ["row", "root", "head"] as const;
export type Brightness = (typeof BRIGHTNESSES)[number];

/** A share of a row's largest weight, 0 to 255, as the strength from 0 to 255 that it is drawn with. */
export function strength(weights: Weights, row: number, share: number, brightness: Brightness): number {
  if (brightness === "head") return (share * weights.tops[row]) / (weights.top || 1);
  return brightness === "root" ? Math.sqrt(255 * share) : share;
}

export interface Level {
  rows: number;
  columns: number;
  values: Uint8Array;
  signs: Uint8Array | null;
}

/** The same picture at half the size again and again, each cell the largest of four, so that a far view loses no peak. */
export class Pyramid {
  private readonly levels: Level[];

  constructor(weights: Weights, brightness: Brightness) {
    const { rows, columns, signs } = weights;
    this.levels = [{ rows, columns, values: shades(weights, brightness), signs }];
  }

  /** The level whose cells are just not smaller than a pixel, and how often it was halved. */
  at(pixelsPerCell: number): [Level, number] {
    let halvings = 0;
    while (pixelsPerCell * 2 ** halvings < 0.75 && this.level(halvings).rows > 1) halvings++;
    return [this.level(halvings), halvings];
  }

  private level(halvings: number): Level {
    while (this.levels.length <= halvings) this.levels.push(halved(this.levels[this.levels.length - 1]));
    return this.levels[halvings];
  }
}

function shades(weights: Weights, brightness: Brightness): Uint8Array {
  if (brightness === "row") return weights.shares;
  const values = new Uint8Array(weights.shares.length);
  const table = new Uint8Array(256);
  for (let row = 0, i = 0; row < weights.rows; row++) {
    for (let share = 0; share < 256; share++) table[share] = Math.round(strength(weights, row, share, brightness));
    for (let column = 0; column < weights.columns; column++, i++) values[i] = table[weights.shares[i]];
  }
  return values;
}

function halved(level: Level): Level {
  const rows = Math.ceil(level.rows / 2);
  const columns = Math.ceil(level.columns / 2);
  const values = new Uint8Array(rows * columns);
  const signs = level.signs && new Uint8Array(rows * columns);
  for (let row = 0; row < level.rows; row++) {
    const [from, to] = [row * level.columns, (row >> 1) * columns];
    for (let column = 0; column < level.columns; column++) {
      const target = to + (column >> 1);
      const value = level.values[from + column];
      if (value <= values[target]) continue;
      values[target] = value;
      if (signs && level.signs) signs[target] = level.signs[from + column];
    }
  }
  return { rows, columns, values, signs };
}
