import type { Choice } from "./draw/theme";
import { viewsOf } from "./panels/stage";
import { attentionOf, type Recording } from "./recording";
import type { State } from "./state";
import type { Language } from "./words";

export interface Options {
  language?: Language | "";
  theme?: Choice;
  /** What is open at first. */
  attention?: string;
  layer?: number;
  head?: number;
  view?: State["view"];
}

/** The language that was asked for, or the browser's. */
export const languageOf = ({ language }: Options): Language => language || ((navigator.language || "").startsWith("ko") ? "ko" : "en");

/** What is chosen before the reader chooses. */
export function start(recording: Recording, options: Options): State {
  // Of a translation, how its words were found in the source is what most came to see.
  const across = recording.attentions.find(({ queries, keys }) => queries !== keys)?.name;
  const attention = attentionOf(recording, options.attention ?? across ?? "");
  const views = viewsOf(recording, attention);
  const tokens = recording.sequences[attention.queries].tokens.length;
  return {
    recording: recording.id,
    other: null,
    difference: false,
    attention: attention.name,
    layer: Math.min(options.layer ?? 0, attention.layers - 1),
    head: Math.min(options.head ?? 0, attention.heads - 1),
    what: "head",
    // Lines tell most of a sentence, the matrix of a long text.
    view: options.view && views.includes(options.view) ? options.view : views[0] === "lines" && tokens > 64 ? "matrix" : views[0],
    query: null,
    key: null,
    shown: { words: false, specials: true, first: true },
    brightness: "row",
    order: "layer",
    reverse: false,
    onlyLayer: null,
    atLeast: 0,
    off: [],
    target: 0,
    token: null,
  };
}
