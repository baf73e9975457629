import type { Axis } from "./axis";
import { Weights } from "./weights";

/**
 * Weights between the labels of two axes: attention to a word is the sum over its tokens, attention from a word the
 * mean over its tokens (Clark et al. 2019, "What does BERT look at?").
 */
export function regroup(weights: Weights, rows: Axis, columns: Axis): Weights {
  if (rows.plain && columns.plain) return weights;
  const [height, width] = [rows.labels.length, columns.labels.length];
  const values = new Float32Array(height * width);
  const line = new Float32Array(width);
  rows.labels.forEach((label, row) => {
    line.fill(0);
    for (const token of label.tokens) {
      const factor = weights.tops[token] / 255 / label.tokens.length;
      const base = token * weights.columns;
      for (let key = 0; key < weights.columns; key++) {
        const column = columns.labelOf[key];
        if (column >= 0) line[column] += weights.shares[base + key] * factor;
      }
    }
    values.set(line, row * width);
  });
  return Weights.of(values, height, width);
}
