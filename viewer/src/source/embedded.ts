import { Layers } from "./layers";
import { partsOf } from "./parts";
import { Missing, type Answers, type LayerWanted, type Pair, type Parameters, type Question, type Source } from "./source";
import { attentionOf, type Recording } from "../recording";

interface Embedded {
  recordings: Recording[];
  answers?: Partial<Record<Question, [Parameters, unknown][]>>;
}

interface PairWanted {
  recording: string;
  attention: string;
  layer: number;
  head: number;
  query: number;
  key: number;
}

/** Reads what the exported file holds: JSON at once, each layer when it is looked at. */
export class EmbeddedSource implements Source {
  readonly live = false;
  private readonly held: Embedded;
  private readonly layers: Map<string, Element>;
  private readonly parts: Map<string, Element>;
  private readonly weights = new Layers(this);

  constructor(page: ParentNode) {
    const data = page.querySelector("script[data-recordings]");
    this.held = JSON.parse(data?.textContent ?? '{"recordings": []}') as Embedded;
    this.layers = placed(page, "data-layer");
    this.parts = placed(page, "data-pairs");
  }

  async ask<Q extends Question>(question: Q, parameters: Parameters): Promise<Answers[Q]> {
    if (question === "recordings") return this.held.recordings as Answers[Q];
    if (question === "pair") return (await this.pair(parameters as unknown as PairWanted)) as Answers[Q];
    const found = this.find(question, parameters);
    if (!found) throw new Missing(question);
    return found[1] as Answers[Q];
  }

  has(question: Question, parameters: Parameters): boolean {
    return this.find(question, parameters) !== undefined;
  }

  async layer({ recording, attention, layer, head }: LayerWanted): Promise<ArrayBuffer> {
    const place = head === undefined ? [recording, attention, layer] : [recording, attention, layer, head];
    const bytes = this.layers.get(JSON.stringify(place));
    if (!bytes) throw new Missing(`layer ${layer}`);
    return inflate(bytes);
  }

  /** One pair's parts from its layer's queries and keys, and its weight from the layer's weights. */
  private async pair({ recording, attention, layer, head, query, key }: PairWanted): Promise<Pair> {
    const one = this.held.recordings.find(({ id }) => id === recording);
    const bytes = this.parts.get(JSON.stringify([recording, attention, layer]));
    if (!one || !bytes) throw new Missing("pair");
    const found = attentionOf(one, attention);
    const lengths = [found.queries, found.keys].map((name) => one.sequences[name].tokens.length);
    const weights = await this.weights.head(one, found, layer, head);
    return { ...partsOf(await inflate(bytes), found.heads, lengths[0], lengths[1], [head, query, key]), weight: weights.at(query, key) };
  }

  private find(question: Question, parameters: Parameters): [Parameters, unknown] | undefined {
    const wanted = canonical(parameters);
    return this.held.answers?.[question]?.find(([asked]) => canonical(asked) === wanted);
  }
}

/** Elements of bytes by what their attribute says they are of. */
function placed(page: ParentNode, attribute: string): Map<string, Element> {
  const found = [...page.querySelectorAll(`script[${attribute}]`)];
  return new Map(found.map((script) => [JSON.stringify(JSON.parse(script.getAttribute(attribute) ?? "[]")), script]));
}

/** Parameters as text, whatever the order in which they were written. */
function canonical(parameters: Parameters): string {
  return JSON.stringify(Object.entries(parameters).sort(([a], [b]) => (a < b ? -1 : 1)));
}

export function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function inflate(script: Element): Promise<ArrayBuffer> {
  const bytes = bytesOf((script.textContent ?? "").trim());
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}
