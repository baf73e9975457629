import type { Theme } from "../draw/theme";
import type { Level } from "../weights/pyramid";

/** Part of a level as a small picture, one pixel a cell. */
export function cells(level: Level, theme: Theme, left: number, top: number, width: number, height: number): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, width);
  canvas.height = Math.max(1, height);
  const context = canvas.getContext("2d");
  if (!context || width < 1 || height < 1) return canvas;
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const [plus, minus] = [packed(theme.scale.plus), packed(theme.scale.minus)];
  for (let row = 0, out = 0; row < height; row++) {
    let at = (top + row) * level.columns + left;
    for (let column = 0; column < width; column++, at++, out++) {
      pixels[out] = level.signs?.[at] ? minus[level.values[at]] : plus[level.values[at]];
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

const tables = new Map<Uint8Array, Uint32Array>();

/** The colours as pixels in the machine's own byte order. */
export function packed(scale: Uint8Array): Uint32Array {
  let table = tables.get(scale);
  if (!table) {
    const bytes = new Uint8Array(4 * 256);
    for (let i = 0; i < 256; i++) bytes.set([scale[3 * i], scale[3 * i + 1], scale[3 * i + 2], 255], 4 * i);
    table = new Uint32Array(bytes.buffer);
    tables.set(scale, table);
  }
  return table;
}
