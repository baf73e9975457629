import { lettered, widthOf } from "../draw/lettering";
import type { Axis } from "../weights/axis";
import type { Chosen, Picture } from "./view";

export const LETTERS = 12;
const LARGEST = 44;
const MARGIN = 12;

/** Where the matrix stands: the size of a cell, and the first row and column in sight (fractions allowed). */
export interface Place {
  cell: number;
  row: number;
  column: number;
}

/** A matrix on a surface: the room for its letters, how far it is zoomed, and which part of it is in sight. */
export class Sheet {
  picture: Picture | null = null;
  place: Place = { cell: 1, row: 0, column: 0 };
  width = 0;
  height = 0;

  /** Takes this width and the height that the matrix needs there, and shows all of it. */
  resize(picture: Picture, width: number): void {
    this.width = Math.max(1, Math.floor(width));
    const cell = this.fitting(picture);
    const [, top] = this.gutters(picture, cell);
    this.height = Math.max(1, Math.floor(Math.min(tallest(), top + picture.weights.rows * cell + MARGIN)));
    this.whole();
  }

  /** The size of the whole matrix with cells of this size, as it is exported. */
  extent(picture: Picture, cell: number): [width: number, height: number] {
    const [left, top] = this.gutters(picture, cell, false);
    return [Math.ceil(left + picture.weights.columns * cell + MARGIN), Math.ceil(top + picture.weights.rows * cell + MARGIN)];
  }

  /** Where the cells begin. On the screen a narrow matrix stands in the middle. */
  gutters(picture: Picture, cell: number, centred = true): [left: number, top: number] {
    const room = (axis: Axis) => {
      let width = 24;
      for (const label of axis.labels.slice(0, 400)) width = Math.max(width, widthOf(lettered(label), LETTERS, picture.theme.font));
      return Math.min(width + 14, cell < 4 ? 84 : 128, Math.max(64, this.width * 0.24));
    };
    const left = room(picture.rows);
    const spare = centred ? Math.max(0, this.width - left - picture.weights.columns * cell - MARGIN) : 0;
    return [left + Math.floor(spare / 2), room(picture.columns)];
  }

  whole(): void {
    if (this.picture) this.place = { cell: this.fitting(this.picture), row: 0, column: 0 };
  }

  /** Zooms about a point, without one about what is chosen. */
  zoom(factor: number, chosen: Chosen, x?: number, y?: number): void {
    const { picture, place } = this;
    if (!picture) return;
    const least = this.fitting(picture);
    const cell = Math.max(least, Math.min(Math.max(LARGEST, least), place.cell * factor));
    const [left, top] = this.gutters(picture, place.cell);
    const [chosenX, chosenY] = [(chosen.column ?? -1) + 0.5, (chosen.row ?? -1) + 0.5];
    const atColumn = x !== undefined ? place.column + (x - left) / place.cell : chosenX > 0 ? chosenX : place.column;
    const atRow = y !== undefined ? place.row + (y - top) / place.cell : chosenY > 0 ? chosenY : place.row;
    const [nextLeft, nextTop] = this.gutters(picture, cell);
    const toX = x !== undefined ? x - nextLeft : chosenX > 0 ? (this.width - nextLeft) / 2 : 0;
    const toY = y !== undefined ? y - nextTop : chosenY > 0 ? (this.height - nextTop) / 2 : 0;
    this.place = { cell, column: atColumn - toX / cell, row: atRow - toY / cell };
    this.bound();
  }

  /** Moves by so many pixels of the screen. */
  pan(dx: number, dy: number): void {
    this.place.column -= dx / this.place.cell;
    this.place.row -= dy / this.place.cell;
    this.bound();
  }

  /** Moves no further than is needed to have a cell in sight. */
  reveal(row: number, column: number): void {
    const { picture, place } = this;
    if (!picture) return;
    const [left, top] = this.gutters(picture, place.cell);
    const [across, down] = [(this.width - left - MARGIN) / place.cell, (this.height - top - MARGIN) / place.cell];
    place.column = Math.max(column + 1 - across, Math.min(place.column, column));
    place.row = Math.max(row + 1 - down, Math.min(place.row, row));
    this.bound();
  }

  /** The cell at a point. */
  find(x: number, y: number): Chosen | null {
    const { picture, place } = this;
    if (!picture) return null;
    const [left, top] = this.gutters(picture, place.cell);
    const column = Math.floor(place.column + (x - left) / place.cell);
    const row = Math.floor(place.row + (y - top) / place.cell);
    const inside = row >= 0 && column >= 0 && row < picture.weights.rows && column < picture.weights.columns;
    return inside && x >= left && y >= top ? { row, column } : null;
  }

  private fitting(picture: Picture): number {
    const { rows, columns } = picture.weights;
    const [left, top] = this.gutters(picture, 20, false);
    return Math.min(LARGEST, (this.width - left - MARGIN) / columns, (tallest() - top - MARGIN) / rows);
  }

  private bound(): void {
    const { picture, place } = this;
    if (!picture) return;
    const [left, top] = this.gutters(picture, place.cell);
    const limit = (at: number, count: number, room: number) => Math.max(0, Math.min(at, count - room / place.cell));
    place.column = limit(place.column, picture.weights.columns, this.width - left - MARGIN);
    place.row = limit(place.row, picture.weights.rows, this.height - top - MARGIN);
  }
}

const tallest = (): number => Math.max(320, Math.min(720, innerHeight - 200));
