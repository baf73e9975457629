/** One drawing, three media: the screen, a PNG and an SVG take the same strokes. */

export interface Writing {
  size: number;
  colour: string;
  align?: "start" | "middle" | "end";
  weight?: number;
  /** Quarter turn to the left about the point. */
  upwards?: boolean;
}

export interface Pen {
  rectangle(x: number, y: number, width: number, height: number, fill: string): void;
  frame(x: number, y: number, width: number, height: number, stroke: string, thickness: number): void;
  /** A line that leaves and arrives level. */
  curve(x1: number, y1: number, x2: number, y2: number, stroke: string, thickness: number, opacity: number): void;
  write(x: number, y: number, text: string, writing: Writing): void;
  picture(image: HTMLCanvasElement, x: number, y: number, width: number, height: number): void;
}

export class CanvasPen implements Pen {
  constructor(
    private readonly context: CanvasRenderingContext2D,
    private readonly font: string,
  ) {}

  rectangle(x: number, y: number, width: number, height: number, fill: string): void {
    this.context.fillStyle = fill;
    this.context.fillRect(x, y, width, height);
  }

  frame(x: number, y: number, width: number, height: number, stroke: string, thickness: number): void {
    this.context.strokeStyle = stroke;
    this.context.lineWidth = thickness;
    this.context.strokeRect(x, y, width, height);
  }

  curve(x1: number, y1: number, x2: number, y2: number, stroke: string, thickness: number, opacity: number): void {
    const { context } = this;
    const bend = (x2 - x1) * 0.45;
    context.globalAlpha = opacity;
    context.strokeStyle = stroke;
    context.lineWidth = thickness;
    context.beginPath();
    context.moveTo(x1, y1);
    context.bezierCurveTo(x1 + bend, y1, x2 - bend, y2, x2, y2);
    context.stroke();
    context.globalAlpha = 1;
  }

  write(x: number, y: number, text: string, writing: Writing): void {
    const { context } = this;
    context.font = `${writing.weight ?? 400} ${writing.size}px ${this.font}`;
    context.fillStyle = writing.colour;
    context.textAlign = writing.align === "middle" ? "center" : (writing.align ?? "start");
    context.textBaseline = "middle";
    if (!writing.upwards) {
      context.fillText(text, x, y);
      return;
    }
    context.save();
    context.translate(x, y);
    context.rotate(-Math.PI / 2);
    context.fillText(text, 0, 0);
    context.restore();
  }

  picture(image: HTMLCanvasElement, x: number, y: number, width: number, height: number): void {
    this.context.imageSmoothingEnabled = false;
    this.context.drawImage(image, x, y, width, height);
  }
}

const SVG = "http://www.w3.org/2000/svg";

export class SvgPen implements Pen {
  readonly root: SVGSVGElement;

  constructor(
    width: number,
    height: number,
    private readonly font: string,
  ) {
    this.root = document.createElementNS(SVG, "svg");
    for (const [name, value] of [["width", width], ["height", height], ["viewBox", `0 0 ${width} ${height}`]] as const) {
      this.root.setAttribute(name, String(value));
    }
  }

  rectangle(x: number, y: number, width: number, height: number, fill: string): void {
    this.add("rect", { x, y, width, height, fill });
  }

  frame(x: number, y: number, width: number, height: number, stroke: string, thickness: number): void {
    this.add("rect", { x, y, width, height, fill: "none", stroke, "stroke-width": thickness });
  }

  curve(x1: number, y1: number, x2: number, y2: number, stroke: string, thickness: number, opacity: number): void {
    const bend = (x2 - x1) * 0.45;
    const d = `M${n(x1)} ${n(y1)}C${n(x1 + bend)} ${n(y1)} ${n(x2 - bend)} ${n(y2)} ${n(x2)} ${n(y2)}`;
    this.add("path", { d, fill: "none", stroke, "stroke-width": thickness, "stroke-opacity": opacity });
  }

  write(x: number, y: number, text: string, writing: Writing): void {
    const element = this.add("text", {
      x,
      y,
      fill: writing.colour,
      "font-size": writing.size,
      "font-family": this.font,
      "font-weight": writing.weight ?? 400,
      "text-anchor": writing.align ?? "start",
      "dominant-baseline": "central",
    });
    if (writing.upwards) element.setAttribute("transform", `rotate(-90 ${n(x)} ${n(y)})`);
    element.textContent = text;
  }

  picture(image: HTMLCanvasElement, x: number, y: number, width: number, height: number): void {
    const href = image.toDataURL("image/png");
    const element = this.add("image", { x, y, width, height, href, preserveAspectRatio: "none" });
    element.setAttribute("image-rendering", "pixelated");
  }

  text(): string {
    return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(this.root)}\n`;
  }

  private add(name: string, attributes: Record<string, string | number>): SVGElement {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) {
      element.setAttribute(key, typeof value === "number" ? n(value) : value);
    }
    this.root.append(element);
    return element;
  }
}

const n = (value: number): string => String(Math.round(value * 100) / 100);
