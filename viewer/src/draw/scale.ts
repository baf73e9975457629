/** The one colour scale of weights: from the ground to full, in steps that look alike (OKLab, Ottosson 2020). */

export type Rgb = readonly [red: number, green: number, blue: number];

interface Lch {
  l: number;
  c: number;
  h: number;
}

export interface Scale {
  /** 256 colours, three bytes each, of weights above zero. */
  plus: Uint8Array;
  /** The same for differences below zero. */
  minus: Uint8Array;
}

const BLUE = 266;
const ORANGE = 52;

export const LIGHT: Scale = { plus: ramp(1, 0.34, 0.155, BLUE), minus: ramp(1, 0.42, 0.125, ORANGE) };
export const DARK: Scale = { plus: ramp(0.222, 0.94, 0.15, BLUE), minus: ramp(0.222, 0.9, 0.12, ORANGE) };

export function colour(scale: Scale, shade: number, negative = false): Rgb {
  const table = negative ? scale.minus : scale.plus;
  const i = 3 * Math.max(0, Math.min(255, Math.round(shade)));
  return [table[i], table[i + 1], table[i + 2]];
}

export const css = ([red, green, blue]: Rgb): string => `rgb(${red} ${green} ${blue})`;

/** Ink that can be read on a shade: black or white, whichever contrasts more. */
export function inkOn([red, green, blue]: Rgb): string {
  const light = 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  return light > 0.179 ? "#10141b" : "#ffffff";
}

/** Lightness runs straight, chroma swells in the middle; then colours are spaced evenly along the curve. */
function ramp(from: number, to: number, chroma: number, hue: number): Uint8Array {
  const curve = (t: number): Lch => ({
    l: from + (to - from) * t,
    c: chroma * Math.sin(Math.PI * 0.84 * t),
    h: hue,
  });
  const steps = 1024;
  const lengths = new Float64Array(steps + 1);
  for (let i = 1; i <= steps; i++) {
    const [a, b] = [curve((i - 1) / steps), curve(i / steps)];
    lengths[i] = lengths[i - 1] + Math.hypot(b.l - a.l, b.c - a.c);
  }
  const table = new Uint8Array(3 * 256);
  for (let shade = 0, i = 0; shade < 256; shade++) {
    const wanted = (lengths[steps] * shade) / 255;
    while (i < steps && lengths[i] < wanted) i++;
    table.set(rgb(curve(i / steps)), 3 * shade);
  }
  // The ground itself, exactly: nothing is drawn where there is no weight.
  table.set(from > 0.5 ? [255, 255, 255] : [23, 27, 35], 0);
  return table;
}

function rgb({ l, c, h }: Lch): number[] {
  const [a, b] = [c * Math.cos((h * Math.PI) / 180), c * Math.sin((h * Math.PI) / 180)];
  const long = (l + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const middle = (l - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const short = (l - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
    -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
    -0.0041960863 * long - 0.7034186147 * middle + 1.707614701 * short,
  ].map((value) => Math.round(255 * gamma(Math.max(0, Math.min(1, value)))));
}

function gamma(value: number): number {
  return value <= 0.0031308 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055;
}

function linear(byte: number): number {
  const value = byte / 255;
  return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
}
