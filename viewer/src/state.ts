import type { Head, Score } from "./recording";
import type { Shown } from "./weights/axis";
import type { Brightness } from "./weights/pyramid";

export type What = "head" | "rollout" | "gradient" | "lens" | "written";
export type ViewName = "lines" | "matrix" | "text" | "picture" | "positions";
export type Order = "layer" | Score | "change" | "difference";

/** All that the reader has chosen. Tokens are indices into their sequence, whatever is merged or hidden. */
export interface State {
  recording: string;
  other: string | null;
  difference: boolean;
  attention: string;
  layer: number;
  head: number;
  what: What;
  view: ViewName;
  query: number | null;
  key: number | null;
  shown: Shown;
  brightness: Brightness;
  order: Order;
  reverse: boolean;
  onlyLayer: number | null;
  atLeast: number;
  off: Head[];
  /** What attention × gradient explains: a label of the prediction, or instead a token that was written. */
  target: number;
  token: number | null;
}

export class Store {
  private readonly listeners = new Set<(state: State, before: State) => void>();

  constructor(private current: State) {}

  get state(): State {
    return this.current;
  }

  set(change: Partial<State>): void {
    const before = this.current;
    this.current = { ...before, ...change };
    for (const listener of [...this.listeners]) listener(this.current, before);
  }

  listen(listener: (state: State, before: State) => void): void {
    this.listeners.add(listener);
  }
}
