import { Missing, type Answers, type LayerWanted, type Parameters, type Question, type Source } from "./source";
import type { Recording } from "../recording";

interface Embedded {
  recordings: Recording[];
  answers?: Partial<Record<Question, [Parameters, unknown][]>>;
}

/** Reads what the exported file holds: JSON at once, each layer when it is looked at. */
export class EmbeddedSource implements Source {
  private readonly held: Embedded;
  private readonly layers = new Map<string, Element>();

  constructor(page: ParentNode) {
    const data = page.querySelector("script[data-recordings]");
    this.held = JSON.parse(data?.textContent ?? '{"recordings": []}') as Embedded;
    for (const script of page.querySelectorAll("script[data-layer]")) {
      this.layers.set(JSON.stringify(JSON.parse(script.getAttribute("data-layer") ?? "[]")), script);
    }
  }

  async ask<Q extends Question>(question: Q, parameters: Parameters): Promise<Answers[Q]> {
    if (question === "recordings") return this.held.recordings as Answers[Q];
    const found = this.find(question, parameters);
    if (!found) throw new Missing(question);
    return found[1] as Answers[Q];
  }

  has(question: Question, parameters: Parameters): boolean {
    return this.find(question, parameters) !== undefined;
  }

  async layer({ recording, attention, layer, head }: LayerWanted): Promise<ArrayBuffer> {
    const place = head === undefined ? [recording, attention, layer] : [recording, attention, layer, head];
    const script = this.layers.get(JSON.stringify(place));
    if (!script) throw new Missing(`layer ${layer}`);
    return inflate(bytesOf((script.textContent ?? "").trim()));
  }

  private find(question: Question, parameters: Parameters): [Parameters, unknown] | undefined {
    const wanted = canonical(parameters);
    return this.held.answers?.[question]?.find(([asked]) => canonical(asked) === wanted);
  }
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

async function inflate(bytes: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer> {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}
