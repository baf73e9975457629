import { attentionOf, type Head, type Recording } from "./recording";
import { Layers } from "./source/layers";
import type { Answers, Moved, Parameters, Question, Source } from "./source/source";
import type { State } from "./state";
import { Weights } from "./weights/weights";

/** What is known of the recordings: every question is asked once, and asked again only after a failure. */
export class Desk {
  readonly layers: Layers;
  private readonly answers = new Map<string, Promise<unknown>>();
  private readonly grids = new WeakMap<object, Weights>();

  constructor(
    private readonly source: Source,
    readonly recordings: Recording[],
  ) {
    this.layers = new Layers(source);
  }

  /** Whether a model answers. */
  get live(): boolean {
    return this.source.live;
  }

  recording(id: string): Recording {
    return this.recordings.find((recording) => recording.id === id) ?? this.recordings[0];
  }

  ask<Q extends Question>(question: Q, parameters: Parameters): Promise<Answers[Q]> {
    const key = JSON.stringify([question, parameters]);
    let answer = this.answers.get(key) as Promise<Answers[Q]> | undefined;
    if (!answer) {
      answer = this.source.ask(question, parameters);
      this.answers.set(key, answer);
      answer.catch(() => this.answers.delete(key));
    }
    return answer;
  }

  has(question: Question, parameters: Parameters): boolean {
    return this.source.has?.(question, parameters) ?? true;
  }

  off(recording: Recording, heads: Head[]): Promise<Moved> {
    return this.ask("off", { recording: recording.id, heads: heads.map((head) => [...head]) });
  }

  /** The weights that the state asks for, token by token. */
  async weights(recording: Recording, state: State): Promise<Weights> {
    const attention = attentionOf(recording, state.attention);
    const place = { recording: recording.id, attention: attention.name };
    if (state.what === "rollout") return this.grid(await this.ask("rollout", place));
    if (state.what === "gradient") {
      const about = state.token === null ? { target: state.target } : { token: state.token };
      return this.grid((await this.ask("gradient", { ...place, ...about })).weights);
    }
    return this.layers.head(recording, attention, Math.min(state.layer, attention.layers - 1), Math.min(state.head, attention.heads - 1));
  }

  private grid(rows: number[][]): Weights {
    let weights = this.grids.get(rows);
    if (!weights) this.grids.set(rows, (weights = Weights.fromRows(rows)));
    return weights;
  }
}
