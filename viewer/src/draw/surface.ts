/** A canvas that knows its size on the screen and draws at most once a frame. */
export class Surface {
  readonly canvas = document.createElement("canvas");
  width = 0;
  height = 0;
  private wanted = 0;

  constructor(private readonly paint: (context: CanvasRenderingContext2D) => void) {}

  resize(width: number, height: number): void {
    this.width = Math.max(1, Math.floor(width));
    this.height = Math.max(1, Math.floor(height));
    const ratio = Math.min(3, devicePixelRatio || 1);
    const [w, h] = [Math.round(this.width * ratio), Math.round(this.height * ratio)];
    if (this.canvas.width !== w) this.canvas.width = w;
    if (this.canvas.height !== h) this.canvas.height = h;
    this.canvas.style.width = `${this.width}px`;
    this.canvas.style.height = `${this.height}px`;
    this.redraw();
  }

  redraw(): void {
    if (this.wanted) return;
    this.wanted = requestAnimationFrame(() => {
      this.wanted = 0;
      const context = this.canvas.getContext("2d");
      if (!context || !this.width) return;
      context.setTransform(this.canvas.width / this.width, 0, 0, this.canvas.height / this.height, 0, 0);
      context.clearRect(0, 0, this.width, this.height);
      this.paint(context);
    });
  }
}
