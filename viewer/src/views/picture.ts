import { CanvasPen, type Pen } from "../draw/pen";
import { lettered } from "../draw/lettering";
import { colour, css } from "../draw/scale";
import { Surface } from "../draw/surface";
import { element } from "../element";
import type { Sequence } from "../recording";
import { bytesOf } from "../source/embedded";
import { cells } from "./cells";
import type { Chosen, Hearing, Picture, Size, View } from "./view";

/** A picture's patches, tinted by how much a chosen patch looks at each. */
export class PictureView implements View {
  private readonly surface = new Surface((context) => this.paint(context));
  private readonly chips = element("div", { class: "mf-chips" });
  readonly element: HTMLElement;
  private picture: Picture | null = null;
  private bitmap: ImageBitmap | null = null;
  private loaded = "";
  private chosen: Chosen = { row: null, column: null };
  private pointed: number | null = null;

  constructor(
    private readonly hearing: Hearing,
    label: string,
  ) {
    const { canvas } = this.surface;
    const stage = element("div", { class: "mf-patches", tabindex: 0, role: "application", "aria-label": label }, canvas);
    this.element = element("div", { class: "mf-stage" }, this.chips, stage);
    stage.addEventListener("keydown", this.key);
    canvas.addEventListener("click", (event) => this.hearing.choose({ row: this.find(event), column: null }));
    canvas.addEventListener("dblclick", () => this.hearing.open());
    canvas.addEventListener("pointermove", (event) => this.point(this.find(event)));
    canvas.addEventListener("pointerleave", () => this.point(null));
    new ResizeObserver(() => this.fit()).observe(this.element);
  }

  show(picture: Picture, chosen: Chosen): void {
    this.picture = picture;
    this.chosen = chosen;
    this.chips.replaceChildren(
      ...picture.rows.labels.flatMap((label, row) =>
        label.special
          ? [element("button", { type: "button", class: "mf-chip", "data-row": row, onclick: () => this.hearing.choose({ row, column: null }) }, lettered(label))]
          : [],
      ),
    );
    void this.load(picture.to);
    this.choose(chosen);
    this.fit();
  }

  choose(chosen: Chosen): void {
    this.chosen = chosen;
    const row = this.row();
    for (const chip of this.chips.children) chip.setAttribute("aria-pressed", String(Number((chip as HTMLElement).dataset.row) === row));
    this.surface.redraw();
  }

  size(): Size {
    const [rows, columns] = this.grid();
    const side = Math.max(8, Math.floor(720 / Math.max(rows, columns)));
    return { width: columns * side, height: rows * side };
  }

  draw(pen: Pen): void {
    const { width, height } = this.size();
    this.strokes(pen, width, height);
  }

  private grid(): [number, number] {
    return this.picture?.to.grid ?? [1, 1];
  }

  /** Without a choice, the class token speaks: its attention is what the prediction reads. */
  private row(): number | null {
    const { picture } = this;
    if (!picture) return null;
    if (this.chosen.row !== null) return this.chosen.row;
    const special = picture.rows.labels.findIndex((label) => label.special);
    return special >= 0 ? special : null;
  }

  private async load(sequence: Sequence): Promise<void> {
    const address = sequence.picture ?? "";
    if (address === this.loaded) return;
    this.loaded = address;
    const [head, data] = address.split(",", 2);
    // Nothing is ever fetched: only a picture that stands in the recording is shown.
    if (!/^data:image\/(png|jpeg);base64$/.test(head) || !data) return;
    this.bitmap = await createImageBitmap(new Blob([bytesOf(data)], { type: head.slice(5, -7) })).catch(() => null);
    this.surface.redraw();
  }

  private fit(): void {
    const width = this.element.clientWidth;
    if (!this.picture || !width) return;
    const [rows, columns] = this.grid();
    const side = Math.min(width / columns, Math.max(320, Math.min(620, innerHeight - 240)) / rows);
    this.surface.resize(columns * side, rows * side);
  }

  private paint(context: CanvasRenderingContext2D): void {
    if (this.picture) this.strokes(new CanvasPen(context, this.picture.theme.font), this.surface.width, this.surface.height);
  }

  private strokes(pen: Pen, width: number, height: number): void {
    const { picture } = this;
    if (!picture) return;
    const [rows, columns] = this.grid();
    const { weights, theme } = picture;
    const row = this.row();
    const [w, h] = [width / columns, height / rows];
    if (this.bitmap) pen.picture(ghost(this.bitmap, row === null ? 1 : 0.55, theme.ground), 0, 0, width, height);
    if (row !== null && row < weights.rows) {
      const heat = cells(
        { rows, columns, values: this.patches(row, rows * columns), signs: null },
        theme,
        0,
        0,
        columns,
        rows,
      );
      pen.picture(veil(heat, this.patches(row, rows * columns)), 0, 0, width, height);
    }
    const patch = (index: number, stroke: string, thickness: number) =>
      pen.frame((index % columns) * w + 1, Math.floor(index / columns) * h + 1, w - 2, h - 2, stroke, thickness);
    if (this.pointed !== null) patch(this.patchOf(this.pointed), theme.ink, 1);
    if (this.chosen.row !== null && this.patchOf(this.chosen.row) >= 0) patch(this.patchOf(this.chosen.row), theme.second, 2.5);
    pen.frame(0.5, 0.5, width - 1, height - 1, css(colour(theme.scale, 30)), 1);
  }

  /** Shares of the row's largest, of the patches only. */
  private patches(row: number, count: number): Uint8Array<ArrayBuffer> {
    const { weights, columns } = this.picture as Picture;
    const values = new Uint8Array(count);
    let top = 1;
    columns.labels.forEach((label, column) => {
      if (!label.special) top = Math.max(top, weights.shares[row * weights.columns + column]);
    });
    columns.labels.forEach((label, column) => {
      const patch = this.patchOf(column);
      if (!label.special && patch < count) values[patch] = (255 * weights.shares[row * weights.columns + column]) / top;
    });
    return values;
  }

  private patchOf(index: number): number {
    const { columns, to } = this.picture as Picture;
    const token = columns.labels[index]?.tokens[0] ?? -1;
    return token - to.tokens.findIndex(({ special }) => !special);
  }

  private rowOf(patch: number): number | null {
    const { rows, from } = this.picture as Picture;
    const token = patch + from.tokens.findIndex(({ special }) => !special);
    const row = rows.labelOf[token];
    return row === undefined || row < 0 ? null : row;
  }

  private find(event: MouseEvent): number | null {
    if (!this.picture) return null;
    const [rows, columns] = this.grid();
    const box = this.surface.canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
    return column >= 0 && row >= 0 && column < columns && row < rows ? this.rowOf(row * columns + column) : null;
  }

  private point(row: number | null): void {
    if (row === this.pointed) return;
    this.pointed = row;
    this.surface.redraw();
    this.hearing.point(row === null ? null : { row: this.row(), column: row });
  }

  private readonly key = (event: KeyboardEvent): void => {
    if (!this.picture || event.ctrlKey || event.metaKey || event.altKey) return;
    const [rows, columns] = this.grid();
    const steps: Record<string, number> = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
    if (event.key in steps) {
      const at = this.chosen.row === null ? -1 : this.patchOf(this.chosen.row);
      const next = at < 0 ? 0 : at + steps[event.key];
      if (next >= 0 && next < rows * columns) this.hearing.choose({ row: this.rowOf(next), column: null });
    } else if (event.key === "Escape") this.hearing.choose({ row: null, column: null });
    else return;
    event.preventDefault();
  };
}

function ghost(bitmap: ImageBitmap, strength: number, ground: string): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const context = canvas.getContext("2d");
  if (!context) return canvas;
  context.fillStyle = ground;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.globalAlpha = strength;
  context.drawImage(bitmap, 0, 0);
  return canvas;
}

/** The heat as a veil that is dense where the weight is large, so that the picture is seen beneath. */
function veil(heat: HTMLCanvasElement, values: Uint8Array): HTMLCanvasElement {
  const context = heat.getContext("2d");
  if (!context) return heat;
  const image = context.getImageData(0, 0, heat.width, heat.height);
  for (let i = 0; i < values.length; i++) image.data[4 * i + 3] = 30 + 0.72 * values[i];
  context.putImageData(image, 0, 0);
  return heat;
}
