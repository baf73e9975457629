/** Which heads are listed, and in which order. */
import type { Attention, Recording } from "../recording";
import { SCORES, type Score } from "../recording";
import { bytesOf } from "../source/embedded";
import type { Order, State } from "../state";

export interface Listed {
  layer: number;
  head: number;
  score: number | null;
}

export function ordersOf(attention: Attention, effects: boolean, difference: boolean): Order[] {
  const scores = SCORES.filter((score) => attention.scores[score]);
  return ["layer", ...scores, ...(effects ? (["change"] as const) : []), ...(difference ? (["difference"] as const) : [])];
}

export function scoreOf(attention: Attention, order: Order, more: number[][] | null): (number | null)[][] | null {
  if (order === "layer") return null;
  if (order === "change" || order === "difference") return more;
  return attention.scores[order as Score] ?? null;
}

export function listed(attention: Attention, state: State, scores: (number | null)[][] | null): Listed[] {
  const heads: Listed[] = [];
  for (let layer = 0; layer < attention.layers; layer++) {
    if (state.onlyLayer !== null && state.onlyLayer !== layer) continue;
    for (let head = 0; head < attention.heads; head++) heads.push({ layer, head, score: scores?.[layer]?.[head] ?? null });
  }
  if (!scores) return heads;
  const top = Math.max(...heads.map(({ score }) => score ?? 0));
  const size = (score: number | null) => score ?? (state.reverse ? Infinity : -Infinity);
  return heads
    .filter(({ score }) => state.atLeast <= 0 || (score ?? 0) >= state.atLeast * top)
    .sort((a, b) => (state.reverse ? size(a.score) - size(b.score) : size(b.score) - size(a.score)));
}

/** The bytes of all thumbnails, `[layers, heads, size, size]`. */
export function thumbnails(attention: Attention): Uint8Array {
  let bytes = decoded.get(attention);
  if (!bytes) decoded.set(attention, (bytes = bytesOf(attention.thumbnail.data)));
  return bytes;
}

const decoded = new WeakMap<Attention, Uint8Array>();

/** How much the thumbnails of two recordings differ, a number a head. */
export function thumbnailDifference(a: Recording, b: Recording, name: string): number[][] | null {
  const [one, other] = [a, b].map((recording) => recording.attentions.find((attention) => attention.name === name));
  if (!one || !other || one.layers !== other.layers || one.heads !== other.heads) return null;
  if (one.thumbnail.size !== other.thumbnail.size) return null;
  const [left, right] = [thumbnails(one), thumbnails(other)];
  const cells = one.thumbnail.size ** 2;
  return Array.from({ length: one.layers }, (_, layer) =>
    Array.from({ length: one.heads }, (_, head) => {
      let sum = 0;
      const base = (layer * one.heads + head) * cells;
      for (let i = base; i < base + cells; i++) sum += Math.abs(left[i] - right[i]);
      return sum / cells / 255;
    }),
  );
}
