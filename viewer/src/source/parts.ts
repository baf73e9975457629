import { Refusal, type Pair } from "./source";

const HEADER = 16;

/**
 * What makes the score of one pair, from a layer's queries and keys as an exported file holds them: the width, the number
 * of heads of keys and of position rules (uint32), the scale (float32), then float16 `[queries, heads, width]`,
 * `[keys, key heads, width]`, `[rules, queries, keys]`; all little-endian.
 */
export function partsOf(bytes: ArrayBuffer, heads: number, queries: number, keys: number, [head, query, key]: [number, number, number]): Omit<Pair, "weight"> {
  const view = new DataView(bytes);
  const [width, keyHeads, rules] = [0, 4, 8].map((at) => view.getUint32(at, true));
  const scale = view.getFloat32(12, true);
  const counts = [queries * heads * width, keys * keyHeads * width, rules * queries * keys];
  if (bytes.byteLength !== HEADER + 2 * (counts[0] + counts[1] + counts[2])) throw new Refusal(`queries and keys of ${bytes.byteLength} bytes`);
  const at = (index: number) => half(view.getUint16(HEADER + 2 * index, true));
  const vector = (first: number) => Array.from({ length: width }, (_, i) => at(first + i));
  const one = vector((query * heads + head) * width);
  // Heads may share keys in groups.
  const other = vector(counts[0] + (key * keyHeads + Math.floor((head * keyHeads) / heads)) * width);
  const products = one.map((value, i) => value * other[i]);
  const rule = rules > 1 ? head : 0;
  const added = rules ? at(counts[0] + counts[1] + (rule * queries + query) * keys + key) : 0;
  const sum = products.reduce((total, product) => total + product, 0);
  return { query: one, key: other, products, score: sum * scale, added: added > -Infinity ? added : null };
}

/** The number that 16 bits stand for (IEEE 754 binary16). */
function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}
