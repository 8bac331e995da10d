import { DEFAULT_BUDGET, FREE_WORK, checkFieldWork, checkMemory } from './budget.js';
import { BudgetError } from './errors.js';
import { Field, timeOf } from './field.js';
import { MAX_DRAWN } from './limits.js';

/** @typedef {import('./dequantize.js').GopParameters} GopParameters */
/** @typedef {import('./field.js').Changes} Changes */

const SUPPORT = 4.5;
const FLOOR = Math.exp(-SUPPORT);
/** Numbers of the accumulator of one band of rows. */
const BAND = 2 ** 23;

/**
 * A picture.
 *
 * @typedef {object} Picture
 * @property {number} width pixels
 * @property {number} height pixels
 * @property {Uint8ClampedArray} data [height][width][4]: R, G, B, A, where A is 255
 */

/**
 * @param {number} length pixels
 * @param {number} scale
 * @returns {number} pixels at another size, halves rounded to even
 */
export function scaledLength(length, scale) {
  const exact = length * scale;
  const below = Math.floor(exact);
  const rest = exact - below;
  return Math.max(1, below + (rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? 1 : 0));
}

/**
 * @param {number} width W
 * @param {number} height H
 * @param {number} scale z
 * @returns {{ width: number, height: number }} pixels of the picture at z times the coded size
 */
export function scaledSize(width, height, scale) {
  if (!(scale > 0 && scale < Infinity)) throw new RangeError(`scale ${scale}, expected a positive number`);
  return { width: scaledLength(width, scale), height: scaledLength(height, scale) };
}

/**
 * Adds s to the diagonal of the covariance of a factor (section 7.4).
 *
 * @param {Float64Array} factor l1, l2, l3, is replaced
 * @param {number} s square pixels
 */
export function lowPass(factor, s) {
  const [l1, l2, l3] = factor;
  const root = Math.sqrt(l1 * l1 + s);
  const r = l2 / root;
  factor[0] = root;
  factor[1] = l1 * r;
  factor[2] = Math.sqrt(l3 * l3 + s + s * r * r);
}

/**
 * Applies the changes of shape of one frame (section 7.4). NaN stays NaN in Math.min and Math.max.
 *
 * @param {Float64Array} factor l1, l2, l3, is replaced
 * @param {number} d1
 * @param {number} ds
 * @param {number} d3
 */
export function changeShape(factor, d1, ds, d3) {
  const [l1, l2, l3] = factor;
  const clamp = (/** @type {number} */ d) => Math.min(1, Math.max(-1, d));
  factor[0] = Math.max(l1 * Math.exp(clamp(d1)), 0.5);
  factor[2] = Math.max(l3 * Math.exp(clamp(d3)), 0.5);
  factor[1] = (l2 / l3 + clamp(ds)) * factor[2];
}

/**
 * @param {GopParameters} parameters
 * @param {Changes} changes of a frame
 * @param {{ width: number, height: number }} size of the coded pictures, pixels
 * @returns {Float32Array} [N][8]: m_x, m_y, l1, l2, l3, c'_R, c'_G, c'_B in pixels of the coded size
 */
export function gaussiansOf(parameters, changes, { width, height }) {
  const { header, factors } = parameters;
  const numbers = new Float32Array(8 * header.nGaussians);
  const factor = new Float64Array(3);
  for (let i = 0, at = 0; i < header.nGaussians; i++, at += 8) {
    for (let j = 0; j < 3; j++) factor[j] = factors[3 * i + j];
    if (header.lowPass > 0) lowPass(factor, header.lowPass);
    if (changes.shapes)
      changeShape(factor, changes.shapes[3 * i], changes.shapes[3 * i + 1], changes.shapes[3 * i + 2]);
    numbers[at] = ((changes.means[2 * i] + 1) / 2) * width;
    numbers[at + 1] = ((changes.means[2 * i + 1] + 1) / 2) * height;
    numbers.set(factor, at + 2);
    for (let c = 0; c < 3; c++) numbers[at + 5 + c] = changes.colors[3 * i + c];
  }
  return numbers;
}

/**
 * @param {Float32Array} from numbers of all Gaussians in a frame
 * @param {Float32Array} to those in the next frame
 * @param {number} share of the way from one to the other, 0 to 1
 * @returns {Float32Array} those between the frames (section 7.1)
 */
export function betweenFrames(from, to, share) {
  return from.map((number, i) => number + share * (to[i] - number));
}

/**
 * The Gaussians that are drawn, in pixels of the viewport.
 *
 * @typedef {object} Splats
 * @property {number} count
 * @property {Float32Array} numbers [count][8]: m_x, m_y, l1, l2, l3, c'_R, c'_G, c'_B
 */

/**
 * @param {Float32Array} gaussians [N][8], of gaussiansOf
 * @param {{ scale: number, x: number, y: number }} viewport
 * @returns {Splats}
 */
export function placeSplats(gaussians, { scale, x, y }) {
  const numbers = new Float32Array(gaussians.length);
  const factor = new Float64Array(3);
  let count = 0;
  for (let i = 0; i < gaussians.length; i += 8) {
    for (let j = 0; j < 3; j++) factor[j] = gaussians[i + 2 + j] * scale;
    let gain = 1;
    if (scale < 1) {
      const area = factor[0] * factor[2];
      lowPass(factor, (1 - scale * scale) / 4);
      gain = area / (factor[0] * factor[2]);
    }
    const at = 8 * count;
    numbers[at] = (gaussians[i] - x) * scale;
    numbers[at + 1] = (gaussians[i + 1] - y) * scale;
    numbers.set(factor, at + 2);
    for (let c = 0; c < 3; c++) numbers[at + 5 + c] = gaussians[i + 5 + c] * gain;
    // The place is reused by the next Gaussian where this one is not drawn. The comparison fails for NaN.
    let drawn = numbers[at + 2] >= 2 ** -20 && numbers[at + 4] >= 2 ** -20;
    for (let j = 0; j < 8; j++) drawn = drawn && Math.abs(numbers[at + j]) <= MAX_DRAWN;
    if (drawn) count++;
  }
  return { count, numbers };
}

/**
 * @param {Splats} splats
 * @param {number} height pixels of the picture
 * @returns {{ first: Int32Array, last: Int32Array }} the rows that each Gaussian may cover; last < first if none
 */
function coveredRows({ count, numbers }, height) {
  const first = new Int32Array(count);
  const last = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const centre = numbers[8 * i + 1];
    const extent = 3 * Math.hypot(numbers[8 * i + 3], numbers[8 * i + 4]);
    first[i] = Math.min(height, Math.max(0, Math.ceil(centre - extent - 0.5)));
    last[i] = Math.max(-1, Math.min(height - 1, Math.floor(centre + extent - 0.5)));
  }
  return { first, last };
}

/**
 * @param {Splats} splats
 * @param {{ first: Int32Array, last: Int32Array }} rows
 * @param {number} width pixels of the picture
 * @returns {number} pixels that the Gaussians may cover, each row counted with the length of the longest one
 */
function coveredPixels({ count, numbers }, rows, width) {
  let pixels = 0;
  for (let i = 0; i < count; i++) {
    const [l1, l2, l3] = numbers.subarray(8 * i + 2, 8 * i + 5);
    const across = Math.min(width, (6 * l1 * l3) / Math.hypot(l2, l3) + 1);
    pixels += Math.max(0, rows.last[i] - rows.first[i] + 1) * across;
  }
  return pixels;
}

/**
 * Adds one row of one Gaussian.
 *
 * @param {Float32Array} numbers
 * @param {number} at place of the Gaussian's eight numbers
 * @param {number} row of the picture
 * @param {Float32Array} sums [width][3] from `base` on
 * @param {number} base
 * @param {number} width pixels
 */
function addRow(numbers, at, row, sums, base, width) {
  const mx = numbers[at];
  const l1 = numbers[at + 2];
  const l2 = numbers[at + 3];
  const l3 = numbers[at + 4];
  const red = numbers[at + 5];
  const green = numbers[at + 6];
  const blue = numbers[at + 7];
  const dy = row + 0.5 - numbers[at + 1];
  // The support u^2 + v^2 < 9 is an interval of u in each row.
  const a = l2 * l2 + l3 * l3;
  const discriminant = 9 * a - dy * dy;
  if (discriminant <= 0) return;
  const middle = (l2 * dy) / a;
  const half = (l3 * Math.sqrt(discriminant)) / a;
  const start = Math.max(0, Math.ceil(mx + l1 * (middle - half) - 0.5));
  const end = Math.min(width - 1, Math.floor(mx + l1 * (middle + half) - 0.5));
  if (!(start <= end)) return;
  const sigmaAt = (/** @type {number} */ x) => {
    const u = (x + 0.5 - mx) / l1;
    const v = (dy - l2 * u) / l3;
    return (u * u + v * v) / 2;
  };
  const sigma = sigmaAt(start);
  const next = sigmaAt(start + 1);
  // Along a row sigma is a quadratic of x: its second difference is constant, so the ratio of neighbouring exponentials
  // changes by a constant factor. Where rounding has made sigma larger than the support, each pixel is computed alone.
  const recur = sigma < 5 && next < 5;
  let value = Math.exp(-sigma);
  let ratio = recur ? Math.exp(sigma - next) : 0;
  const change = recur ? Math.exp(-(1 + (l2 / l3) ** 2) / (l1 * l1)) : 0;
  for (let x = start, p = base + 3 * start; x <= end; x++, p += 3) {
    const w = value - FLOOR;
    if (w > 0) {
      sums[p] += red * w;
      sums[p + 1] += green * w;
      sums[p + 2] += blue * w;
    }
    if (recur) {
      value *= ratio;
      ratio *= change;
    } else {
      value = Math.exp(-sigmaAt(x + 1));
    }
  }
}

/**
 * Draws splats (sections 7.5 and 7.6), in bands of rows so that the sums take little memory however large the picture is.
 *
 * @param {Splats} splats
 * @param {number} width pixels
 * @param {number} height pixels
 * @param {number} [maxWork] Gaussians a pixel, see budget.js
 * @returns {Picture}
 */
export function drawSplats(splats, width, height, maxWork = DEFAULT_BUDGET.work) {
  const rows = coveredRows(splats, height);
  const covered = coveredPixels(splats, rows, width);
  if (covered > FREE_WORK && covered > maxWork * width * height) {
    const found = Math.round(covered / (width * height));
    throw new BudgetError('work of the frame', `would draw ${found} Gaussians a pixel, the budget allows ${maxWork}`);
  }
  const data = new Uint8ClampedArray(4 * width * height);
  const bandRows = Math.min(height, Math.max(1, Math.floor(BAND / (3 * width))));
  const sums = new Float32Array(3 * width * bandRows);
  for (let top = 0; top < height; top += bandRows) {
    const bottom = Math.min(height, top + bandRows) - 1;
    sums.fill(0);
    for (let i = 0; i < splats.count; i++) {
      const last = Math.min(bottom, rows.last[i]);
      for (let row = Math.max(top, rows.first[i]); row <= last; row++) {
        addRow(splats.numbers, 8 * i, row, sums, 3 * width * (row - top), width);
      }
    }
    const nPixels = width * (bottom - top + 1);
    for (let p = 0, out = 4 * width * top; p < nPixels; p++, out += 4) {
      for (let c = 0; c < 3; c++) {
        data[out + c] = Math.floor(255 * Math.min(1, Math.max(0, sums[3 * p + c])) + 0.5);
      }
      data[out + 3] = 255;
    }
  }
  return { width, height, data };
}

/** Renders the frames of one GoP, and the times between them. */
export class GopRenderer {
  /**
   * @param {GopParameters} parameters
   * @param {{ width: number, height: number }} size of the coded pictures, pixels
   * @param {Readonly<import('./budget.js').Budget>} [budget]
   */
  constructor(parameters, size, budget = DEFAULT_BUDGET) {
    checkFieldWork(parameters.header, size, budget);
    this.parameters = parameters;
    this.size = size;
    this.budget = budget;
    this.field = new Field(parameters);
    /** The frames that were computed last, at most two: time goes back and forth between two of them. */
    this.frames = /** @type {Map<number, Float32Array>} */ (new Map());
  }

  /**
   * @param {number} k frame of the GoP, 0 to T - 1
   * @returns {Float32Array} [N][8], as gaussiansOf says
   */
  gaussiansOfFrame(k) {
    let gaussians = this.frames.get(k);
    if (!gaussians) {
      const changes = this.field.at(timeOf(k, this.parameters.header.nFrames));
      gaussians = gaussiansOf(this.parameters, changes, this.size);
    }
    // The frame that was asked for last goes to the end, and the first one goes.
    this.frames.delete(k);
    this.frames.set(k, gaussians);
    const [oldest] = this.frames.keys();
    if (this.frames.size > 2) this.frames.delete(oldest);
    return gaussians;
  }

  /**
   * @param {number} time in frames of the GoP, 0 to T - 1; between frames Gaussians go straight from one to the next
   * @returns {Float32Array} [N][8], as gaussiansOf says
   */
  gaussiansAt(time) {
    const k = Math.floor(time);
    const from = this.gaussiansOfFrame(k);
    return time === k ? from : betweenFrames(from, this.gaussiansOfFrame(k + 1), time - k);
  }

  /**
   * @param {number} time in frames of the GoP, 0 to T - 1
   * @param {number} [scale] z, size of the picture over the coded size
   * @returns {Picture}
   */
  renderAt(time, scale = 1) {
    const { width, height } = scaledSize(this.size.width, this.size.height, scale);
    checkMemory(`a picture of ${width} x ${height} pixels`, 4 * width * height, this.budget.memory);
    const splats = placeSplats(this.gaussiansAt(time), { scale, x: 0, y: 0 });
    return drawSplats(splats, width, height, this.budget.work);
  }
}
