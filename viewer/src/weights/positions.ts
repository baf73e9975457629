import type { Weights } from "./weights";

/** Where a head looks on average, whatever the words. */
export interface Positions {
  /** Mean weight at each offset key - query, from -reach to reach; null where no query has such a key. */
  offsets: (number | null)[];
  reach: number;
  /** Mean weight that each key receives. */
  received: Float32Array;
}

export function positions(weights: Weights, reach: number): Positions {
  const { rows, columns, shares, tops } = weights;
  const sums = new Float64Array(2 * reach + 1);
  const counts = new Uint32Array(2 * reach + 1);
  const received = new Float32Array(columns);
  for (let row = 0; row < rows; row++) {
    const factor = tops[row] / 255;
    const base = row * columns;
    for (let column = 0; column < columns; column++) received[column] += (shares[base + column] * factor) / rows;
    for (let column = Math.max(0, row - reach); column <= Math.min(columns - 1, row + reach); column++) {
      sums[column - row + reach] += shares[base + column] * factor;
      counts[column - row + reach]++;
    }
  }
  return { offsets: Array.from(sums, (sum, i) => (counts[i] ? sum / counts[i] : null)), reach, received };
}
