import { Refusal, type Answers, type LayerWanted, type Parameters, type Question, type Source } from "./source";
import type { Recording } from "../recording";

/** The part of anywidget's model that is used. */
export interface WidgetModel {
  get(name: string): unknown;
  on(event: string, callback: (...values: never[]) => void): void;
  off(event: string, callback?: (...values: never[]) => void): void;
  send(content: unknown): void;
}

interface Reply {
  id: number;
  answer?: unknown;
  error?: string;
}

interface Waiting {
  settle(answer: unknown, buffers: DataView[]): void;
  refuse(reason: Error): void;
}

/** Asks the notebook's kernel, one numbered message a question. */
export class WidgetSource implements Source {
  readonly live = true;
  private readonly waiting = new Map<number, Waiting>();
  private last = 0;

  constructor(private readonly model: WidgetModel) {
    model.on("msg:custom", this.hear as (...values: never[]) => void);
  }

  async ask<Q extends Question>(question: Q, parameters: Parameters): Promise<Answers[Q]> {
    if (question === "recordings") return this.model.get("recordings") as Recording[] as Answers[Q];
    return (await this.send(question, parameters))[0] as Answers[Q];
  }

  async layer(wanted: LayerWanted): Promise<ArrayBuffer> {
    const view = (await this.send("layer", { ...wanted }))[1][0];
    if (!view) throw new Refusal(`layer ${wanted.layer}: no bytes came`);
    return view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength) as ArrayBuffer;
  }

  close(): void {
    this.model.off("msg:custom", this.hear as (...values: never[]) => void);
    for (const { refuse } of this.waiting.values()) refuse(new Refusal("closed"));
    this.waiting.clear();
  }

  private send(question: string, parameters: Parameters): Promise<[unknown, DataView[]]> {
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { settle: (answer, buffers) => resolve([answer, buffers]), refuse: reject });
      this.model.send({ id, question, parameters });
    });
  }

  private readonly hear = (reply: Reply, buffers: DataView[] = []): void => {
    const waiting = this.waiting.get(reply?.id);
    if (!waiting) return;
    this.waiting.delete(reply.id);
    if (typeof reply.error === "string") waiting.refuse(new Refusal(reply.error));
    else waiting.settle(reply.answer, buffers);
  };
}
