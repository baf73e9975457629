import type { Attention, Recording } from "../recording";
import { Weights } from "../weights/weights";
import { Refusal, type Source } from "./source";

const KEPT = 192 * 2 ** 20;
const WHOLE = 32 * 2 ** 20;

interface Block {
  bytes: Promise<ArrayBuffer>;
  heads: number;
}

/** Weights of heads, fetched when first looked at; the least recently used make room. */
export class Layers {
  private readonly blocks = new Map<string, Block>();
  private readonly sizes = new Map<string, number>();

  constructor(private readonly source: Source) {}

  async head(recording: Recording, attention: Attention, layer: number, head: number): Promise<Weights> {
    const rows = recording.sequences[attention.queries].tokens.length;
    const columns = recording.sequences[attention.keys].tokens.length;
    const whole = attention.heads * rows * columns <= WHOLE;
    const block = this.block(recording, attention, layer, whole ? undefined : head);
    return read(await block.bytes, block.heads, whole ? head : 0, rows, columns);
  }

  private block(recording: Recording, attention: Attention, layer: number, head?: number): Block {
    const place = JSON.stringify([recording.id, attention.name, layer, head]);
    let block = this.blocks.get(place);
    if (!block) {
      const wanted = { recording: recording.id, attention: attention.name, layer };
      const bytes = this.source.layer(head === undefined ? wanted : { ...wanted, head });
      block = { bytes, heads: head === undefined ? attention.heads : 1 };
      bytes.then(
        (held) => this.keep(place, held.byteLength),
        () => this.blocks.delete(place),
      );
    }
    this.blocks.delete(place);
    this.blocks.set(place, block);
    return block;
  }

  private keep(place: string, size: number): void {
    this.sizes.set(place, size);
    let sum = 0;
    for (const key of this.blocks.keys()) sum += this.sizes.get(key) ?? 0;
    for (const key of this.blocks.keys()) {
      if (sum <= KEPT || key === place) break;
      sum -= this.sizes.get(key) ?? 0;
      this.blocks.delete(key);
      this.sizes.delete(key);
    }
  }
}

/** One head of a layer's bytes: every head's largest weight a row, then every head's shares of it. */
function read(bytes: ArrayBuffer, heads: number, head: number, rows: number, columns: number): Weights {
  if (bytes.byteLength !== heads * rows * (4 + columns)) throw new Refusal(`a layer of ${bytes.byteLength} bytes`);
  const tops = new Float32Array(bytes, head * rows * 4, rows);
  const shares = new Uint8Array(bytes, heads * rows * 4 + head * rows * columns, rows * columns);
  return new Weights(rows, columns, tops, shares);
}
