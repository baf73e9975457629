import { App } from "./app";
import { Desk } from "./desk";
import { element } from "./element";
import type { Source } from "./source/source";
import { languageOf, type Options } from "./start";
import { WORDS } from "./words";

/** Asks for the recordings and opens the viewer on them. */
export async function open(host: Element, source: Source, options: Options): Promise<App | null> {
  const words = WORDS[languageOf(options)];
  const say = (text: string) => host.replaceChildren(element("p", { class: "mf-viewer mf-wait", role: "status" }, text));
  say(words.loading);
  try {
    const recordings = (await source.ask("recordings", {})).filter(({ attentions }) => attentions.length > 0);
    if (recordings.length) return new App(host, new Desk(source, recordings), options);
    say(words.noRecordings);
  } catch (error) {
    say(`${words.failed}: ${error instanceof Error ? error.message : String(error)}`);
  }
  return null;
}
