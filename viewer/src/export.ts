import { CanvasPen, SvgPen } from "./draw/pen";
import { attentionOf, type Recording } from "./recording";
import type { State } from "./state";
import type { Picture, View } from "./views/view";

const WHOLE = 2 ** 20;
const KEPT = 64;
/** Canvases larger than this are refused by some browsers. */
const SIDE = 16000;

export function saveSvg(view: View, picture: Picture, name: string): void {
  const { width, height } = view.size();
  const pen = new SvgPen(width, height, picture.theme.font);
  view.draw(pen);
  save(new Blob([pen.text()], { type: "image/svg+xml" }), `${name}.svg`);
}

export function savePng(view: View, picture: Picture, name: string): void {
  const { width, height } = view.size();
  const ratio = Math.min(2, SIDE / width, SIDE / height, Math.sqrt(1.2e8 / (width * height)));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const context = canvas.getContext("2d");
  if (!context) return;
  context.scale(ratio, ratio);
  view.draw(new CanvasPen(context, picture.theme.font));
  canvas.toBlob((blob) => blob && save(blob, `${name}.png`), "image/png");
}

export function saveJson(recording: Recording, state: State, picture: Picture, name: string): void {
  save(new Blob([JSON.stringify(data(recording, state, picture))], { type: "application/json" }), `${name}.json`);
}

/** The recording, what is chosen, and the weights that are shown; of a very large matrix the largest of each row. */
function data(recording: Recording, state: State, picture: Picture): unknown {
  const { weights, rows, columns } = picture;
  const round = (value: number) => Number(value.toPrecision(4));
  const all = weights.rows * weights.columns <= WHOLE;
  const each = <T>(make: (row: number) => T) => Array.from({ length: weights.rows }, (_, row) => make(row));
  const attention = attentionOf(recording, state.attention);
  return {
    format: "moduformer view 1",
    recording,
    shown: state.what === "head" ? { attention: attention.name, layer: state.layer, head: state.head } : { attention: attention.name, what: state.what },
    rows: rows.labels.map(({ text, tokens }) => ({ text, tokens })),
    columns: columns.labels.map(({ text, tokens }) => ({ text, tokens })),
    ...(all
      ? { weights: each((row) => Array.from({ length: weights.columns }, (_, column) => round(weights.at(row, column)))) }
      : { strongest: each((row) => weights.strongest(row, KEPT).map((column) => [column, round(weights.at(row, column))])) }),
  };
}

function save(blob: Blob, name: string): void {
  const link = document.createElement("a");
  const address = URL.createObjectURL(blob);
  link.href = address;
  link.download = name.replace(/[^\p{L}\p{N}._-]+/gu, "-");
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
