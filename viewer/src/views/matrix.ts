import { CanvasPen, type Pen } from "../draw/pen";
import { fitted, lettered } from "../draw/lettering";
import { Surface } from "../draw/surface";
import { element } from "../element";
import { Pyramid } from "../weights/pyramid";
import type { Axis } from "../weights/axis";
import { cells } from "./cells";
import { LETTERS, Sheet, type Place } from "./sheet";
import type { Chosen, Hearing, Picture, Size, View } from "./view";

/** Room for the zoom buttons beside the matrix. */
const ZOOMS = 34;

/** Every weight as a cell; zoom and pan, and far away each pixel shows the largest weight beneath it. */
export class MatrixView implements View {
  private readonly surface = new Surface((context) => this.paint(context));
  readonly element: HTMLElement;
  private picture: Picture | null = null;
  private pyramid: Pyramid | null = null;
  private chosen: Chosen = { row: null, column: null };
  private pointed: Chosen | null = null;
  private readonly sheet = new Sheet();
  private readonly fingers = new Map<number, PointerEvent>();
  private moved = false;

  constructor(
    private readonly hearing: Hearing,
    words: { matrixLabel: string; zoomIn: string; zoomOut: string; zoomFit: string },
  ) {
    const { canvas } = this.surface;
    const button = (sign: string, label: string, act: () => void) =>
      element("button", { type: "button", class: "mf-round", "aria-label": label, title: label, onclick: act }, sign);
    const zooms = element(
      "div",
      { class: "mf-zooms" },
      button("+", words.zoomIn, () => this.zoom(1.5)),
      button("−", words.zoomOut, () => this.zoom(1 / 1.5)),
      button("⤢", words.zoomFit, () => this.zoom(null)),
    );
    const stage = element("div", { class: "mf-matrix", tabindex: 0, role: "application", "aria-label": words.matrixLabel }, canvas);
    this.element = element("div", { class: "mf-stage mf-zoomable" }, stage, zooms);
    stage.addEventListener("keydown", this.key);
    canvas.addEventListener("wheel", this.wheel, { passive: false });
    canvas.addEventListener("pointerdown", this.press);
    canvas.addEventListener("pointermove", this.move);
    for (const name of ["pointerup", "pointercancel"] as const) canvas.addEventListener(name, this.release);
    canvas.addEventListener("pointerleave", () => this.point(null));
    canvas.addEventListener("dblclick", () => this.hearing.open());
    new ResizeObserver(() => this.fit()).observe(this.element);
  }

  show(picture: Picture, chosen: Chosen): void {
    const before = this.picture;
    this.picture = this.sheet.picture = picture;
    this.pyramid = new Pyramid(picture.weights, picture.brightness);
    this.chosen = chosen;
    this.pointed = null;
    const same = before && before.weights.rows === picture.weights.rows && before.weights.columns === picture.weights.columns;
    if (same) this.surface.redraw();
    else this.fit();
  }

  choose(chosen: Chosen): void {
    this.chosen = chosen;
    this.surface.redraw();
  }

  size(): Size {
    const { picture } = this;
    if (!picture) return { width: 1, height: 1 };
    const [width, height] = this.sheet.extent(picture, this.exportCell(picture));
    return { width, height };
  }

  draw(pen: Pen): void {
    const { picture } = this;
    if (!picture) return;
    const { width, height } = this.size();
    pen.rectangle(0, 0, width, height, picture.theme.ground);
    this.strokes(pen, picture, { cell: this.exportCell(picture), row: 0, column: 0 }, width, height);
  }

  /** Long texts are exported with small cells, so that the file stays a file. */
  private exportCell(picture: Picture): number {
    const most = Math.max(picture.weights.rows, picture.weights.columns, 1);
    return most <= 64 ? 22 : most <= 160 ? 12 : most <= 600 ? 3 : Math.max(0.25, 2048 / most);
  }

  private fit(): void {
    const width = this.element.clientWidth - ZOOMS;
    if (!this.picture || width <= 0) return;
    this.sheet.resize(this.picture, width);
    this.surface.resize(this.sheet.width, this.sheet.height);
  }

  /** Zooms by a factor, or shows all again. */
  private zoom(factor: number | null, x?: number, y?: number): void {
    if (factor === null) this.sheet.whole();
    else this.sheet.zoom(factor, this.chosen, x, y);
    this.surface.redraw();
  }

  private paint(context: CanvasRenderingContext2D): void {
    const { picture } = this;
    if (picture) this.strokes(new CanvasPen(context, picture.theme.font), picture, this.sheet.place, this.surface.width, this.surface.height, context);
  }

  private strokes(pen: Pen, picture: Picture, place: Place, width: number, height: number, clip?: CanvasRenderingContext2D): void {
    const { theme, weights } = picture;
    const { cell } = place;
    const [left, top] = this.sheet.gutters(picture, cell, clip !== undefined);
    if (!this.pyramid || !weights.rows || !weights.columns) return;
    const [level, halvings] = this.pyramid.at(cell);
    const size = cell * 2 ** halvings;
    const [fromColumn, fromRow] = [Math.floor(place.column / 2 ** halvings), Math.floor(place.row / 2 ** halvings)];
    const columns = Math.min(level.columns - fromColumn, Math.ceil((width - left) / size) + 1);
    const rows = Math.min(level.rows - fromRow, Math.ceil((height - top) / size) + 1);
    const x = left + fromColumn * size - place.column * cell;
    const y = top + fromRow * size - place.row * cell;
    clip?.save();
    if (clip) {
      clip.beginPath();
      clip.rect(left, top, width - left, height - top);
      clip.clip();
    }
    pen.picture(cells(level, theme, fromColumn, fromRow, columns, rows), x, y, columns * size, rows * size);
    if (cell >= 9) {
      for (let i = 1; i < columns; i++) pen.rectangle(x + i * cell - 0.5, y, 1, rows * cell, theme.ground);
      for (let i = 1; i < rows; i++) pen.rectangle(x, y + i * cell - 0.5, columns * cell, 1, theme.ground);
    }
    pen.frame(
      left - place.column * cell + 0.5,
      top - place.row * cell + 0.5,
      weights.columns * cell - 1,
      weights.rows * cell - 1,
      theme.rule,
      1,
    );
    const focus = this.pointed ?? this.chosen;
    if (focus.row !== null && focus.column !== null) {
      const [cx, cy] = [left + (focus.column - place.column) * cell, top + (focus.row - place.row) * cell];
      const grown = Math.max(cell, 5);
      pen.frame(cx + (cell - grown) / 2, cy + (cell - grown) / 2, grown, grown, theme.second, 2);
    } else if (focus.row !== null) {
      pen.frame(left, top + (focus.row - place.row) * cell, weights.columns * cell, Math.max(cell, 3), theme.second, 1.5);
    }
    clip?.restore();
    this.letters(pen, picture, place, width, height, left, top, focus);
  }

  private letters(pen: Pen, picture: Picture, place: Place, width: number, height: number, left: number, top: number, focus: Chosen): void {
    const { theme } = picture;
    const every = Math.max(1, Math.ceil(15 / place.cell));
    const along = (axis: Axis, start: number, room: number, chosen: number | null, write: (at: number, text: string, on: boolean, special: boolean) => void) => {
      const first = Math.max(0, Math.floor(start));
      const last = Math.min(axis.labels.length - 1, Math.ceil(start + room / place.cell));
      for (let i = Math.ceil(first / every) * every; i <= last; i += every) {
        if (chosen !== null && i !== chosen && Math.abs(i - chosen) * place.cell < 14) continue;
        write((i + 0.5 - start) * place.cell, lettered(axis.labels[i]), i === chosen, axis.labels[i].special);
      }
      if (chosen !== null && chosen % every !== 0 && chosen >= first && chosen <= last) {
        write((chosen + 0.5 - start) * place.cell, lettered(axis.labels[chosen]), true, false);
      }
    };
    const style = (on: boolean, special: boolean) => ({
      size: LETTERS,
      weight: on ? 700 : 400,
      colour: on || (!special && every === 1) ? theme.ink : theme.soft,
    });
    along(picture.rows, place.row, height - top, focus.row, (at, text, on, special) => {
      if (at < -2 || top + at > height) return;
      pen.write(left - 7, top + at, fitted(text, LETTERS, theme.font, 122), { ...style(on, special), align: "end" });
    });
    along(picture.columns, place.column, width - left, focus.column, (at, text, on, special) => {
      if (at < -2 || left + at > width) return;
      pen.write(left + at, top - 7, fitted(text, LETTERS, theme.font, top - 12), { ...style(on, special), upwards: true });
    });
  }

  private find(event: MouseEvent): Chosen | null {
    const box = this.surface.canvas.getBoundingClientRect();
    return this.sheet.find(event.clientX - box.left, event.clientY - box.top);
  }

  private point(found: Chosen | null): void {
    if (found?.row === this.pointed?.row && found?.column === this.pointed?.column) return;
    this.pointed = found;
    this.surface.redraw();
    this.hearing.point(found);
  }

  private readonly wheel = (event: WheelEvent): void => {
    // A plain wheel scrolls the page, as everywhere; with Ctrl (or a pinch on a touch pad) it zooms.
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY * 0.01), event.offsetX, event.offsetY);
  };

  private readonly press = (event: PointerEvent): void => {
    this.fingers.set(event.pointerId, event);
    this.moved = false;
    this.surface.canvas.setPointerCapture(event.pointerId);
  };

  private readonly move = (event: PointerEvent): void => {
    const before = this.fingers.get(event.pointerId);
    if (!before) return this.point(this.find(event));
    const others = [...this.fingers.values()].filter(({ pointerId }) => pointerId !== event.pointerId);
    this.fingers.set(event.pointerId, event);
    if (others.length) {
      const apart = (a: PointerEvent) => Math.hypot(a.clientX - others[0].clientX, a.clientY - others[0].clientY);
      this.zoom(apart(event) / Math.max(1, apart(before)), event.offsetX, event.offsetY);
      this.moved = true;
      return;
    }
    const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
    if (!this.moved && Math.hypot(dx, dy) < 4) {
      this.fingers.set(event.pointerId, before);
      return;
    }
    this.moved = true;
    this.sheet.pan(dx, dy);
    this.surface.redraw();
  };

  private readonly release = (event: PointerEvent): void => {
    this.fingers.delete(event.pointerId);
    if (!this.moved && event.type === "pointerup") this.hearing.choose(this.find(event) ?? { row: null, column: null });
  };

  private readonly key = (event: KeyboardEvent): void => {
    const { picture, chosen } = this;
    if (!picture || event.ctrlKey || event.metaKey || event.altKey) return;
    const steps: Record<string, [number, number]> = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const step = steps[event.key];
    if (step) {
      const limit = (value: number, count: number) => Math.max(0, Math.min(count - 1, value));
      const row = chosen.row === null ? 0 : limit(chosen.row + step[0], picture.weights.rows);
      const column = chosen.column === null ? 0 : limit(chosen.column + step[1], picture.weights.columns);
      this.hearing.choose({ row, column });
      this.sheet.reveal(row, column);
      this.surface.redraw();
    } else if (event.key === "+" || event.key === "=") this.zoom(1.5);
    else if (event.key === "-") this.zoom(1 / 1.5);
    else if (event.key === "0") this.zoom(null);
    else if (event.key === "Enter") this.hearing.open();
    else if (event.key === "Escape") this.hearing.choose({ row: null, column: null });
    else return;
    event.preventDefault();
  };
}
