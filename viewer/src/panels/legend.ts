import { colour } from "../draw/scale";
import { element } from "../element";
import { percent, type Picture } from "../views/view";
import type { Words } from "../words";

const WIDTH = 128;

/** The colour scale and the weights at its ends. */
export class Legend {
  private readonly low = element("span", {});
  private readonly high = element("span", {});
  private readonly canvas = element("canvas", { width: WIDTH, height: 1, class: "mf-scale", "aria-hidden": "true" });
  readonly element = element("div", { class: "mf-small mf-legend" }, this.low, this.canvas, this.high);

  show(picture: Picture, words: Words): void {
    const { weights, brightness, theme } = picture;
    const most = brightness === "head" ? percent(weights.top) : words.strong;
    this.low.textContent = weights.signs ? `−${brightness === "head" ? most : ""}` : words.weak;
    this.high.textContent = weights.signs ? `+${brightness === "head" ? most : ""}` : most;
    const context = this.canvas.getContext("2d");
    if (!context) return;
    const image = context.createImageData(WIDTH, 1);
    for (let x = 0; x < WIDTH; x++) {
      const t = x / (WIDTH - 1);
      const rgb = weights.signs ? colour(theme.scale, 255 * Math.abs(2 * t - 1), t < 0.5) : colour(theme.scale, 255 * t);
      image.data.set([...rgb, 255], 4 * x);
    }
    context.putImageData(image, 0, 0);
  }
}
