/** moduformer's attention viewer: one module for a served page, an exported file and a notebook. */
import "./style/index.css";
import type { App } from "./app";
import { open } from "./opening";
import { EmbeddedSource } from "./source/embedded";
import { HttpSource } from "./source/http";
import type { Source } from "./source/source";
import type { Options } from "./start";
import { WidgetSource, type WidgetModel } from "./source/widget";

export type { Options, Source };
export { EmbeddedSource, HttpSource, WidgetSource };

/** Shows the recordings of a source in an element; answers a function that takes the viewer away again. */
export function mount(host: Element, source: Source, options: Options = {}): () => void {
  let app: App | null = null;
  let gone = false;
  void open(host, source, options).then((opened) => {
    app = opened;
    if (gone) app?.close();
  });
  return () => {
    gone = true;
    app?.close();
  };
}

/** The notebook widget's view. */
function render({ model, el }: { model: WidgetModel; el: HTMLElement }): () => void {
  const source = new WidgetSource(model);
  const close = mount(el, source, { language: (model.get("language") as Options["language"]) ?? "" });
  return () => {
    close();
    source.close();
  };
}

export default { render };

// A page asks for the viewer with an attribute, so that it needs no script of its own.
for (const host of document.querySelectorAll<HTMLElement>("[data-viewer]")) {
  const source = host.dataset.viewer === "embedded" ? new EmbeddedSource(document) : new HttpSource(host.dataset.base);
  const { language, theme } = host.dataset as Options;
  mount(host, source, { language, theme });
}
