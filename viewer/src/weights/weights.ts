/** A picture of attention: for each row (query) how much goes to each column (key). */
export class Weights {
  private largest: number | null = null;

  /**
   * @param tops the largest weight of each row
   * @param shares each weight as a share of its row's largest, times 255
   * @param signs 1 where the value is below zero; only differences have them
   */
  constructor(
    readonly rows: number,
    readonly columns: number,
    readonly tops: Float32Array,
    readonly shares: Uint8Array,
    readonly signs: Uint8Array | null = null,
  ) {}

  static of(values: Float32Array, rows: number, columns: number, signed = false): Weights {
    const tops = new Float32Array(rows);
    const shares = new Uint8Array(rows * columns);
    const signs = signed ? new Uint8Array(rows * columns) : null;
    for (let row = 0, at = 0; row < rows; row++, at += columns) {
      let top = 0;
      for (let i = at; i < at + columns; i++) top = Math.max(top, Math.abs(values[i]));
      tops[row] = top;
      const scale = top > 0 ? 255 / top : 0;
      for (let i = at; i < at + columns; i++) {
        shares[i] = Math.round(Math.abs(values[i]) * scale);
        if (signs && values[i] < 0) signs[i] = 1;
      }
    }
    return new Weights(rows, columns, tops, shares, signs);
  }

  static fromRows(rows: number[][]): Weights {
    const columns = rows[0]?.length ?? 0;
    const values = new Float32Array(rows.length * columns);
    rows.forEach((row, index) => values.set(row, index * columns));
    return Weights.of(values, rows.length, columns);
  }

  at(row: number, column: number): number {
    const i = row * this.columns + column;
    const size = (this.tops[row] * this.shares[i]) / 255;
    return this.signs?.[i] ? -size : size;
  }

  /** The largest weight of all. */
  get top(): number {
    if (this.largest === null) {
      this.largest = 0;
      for (const value of this.tops) if (value > this.largest) this.largest = value;
    }
    return this.largest;
  }

  /** The columns of a row that weigh most, heaviest first. */
  strongest(row: number, count: number): number[] {
    const order: number[] = [];
    const base = row * this.columns;
    for (let column = 0; column < this.columns; column++) {
      const share = this.shares[base + column];
      if (share === 0) continue;
      if (order.length === count && this.shares[base + order[count - 1]] >= share) continue;
      let place = order.length;
      while (place > 0 && this.shares[base + order[place - 1]] < share) place--;
      order.splice(place, 0, column);
      if (order.length > count) order.pop();
    }
    return order;
  }

  minus(other: Weights): Weights {
    const values = new Float32Array(this.rows * this.columns);
    for (let row = 0, i = 0; row < this.rows; row++) {
      const [a, b] = [this.tops[row] / 255, other.tops[row] / 255];
      for (let column = 0; column < this.columns; column++, i++) values[i] = this.shares[i] * a - other.shares[i] * b;
    }
    return Weights.of(values, this.rows, this.columns, true);
  }
}
