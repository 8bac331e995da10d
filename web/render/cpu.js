import { checkMemory } from '../decoder/budget.js';
import { drawSplats, GopRenderer, placeSplats } from '../decoder/splat.js';
import { ARROW_FRAMES, arrowStride, bitWeights, DIM } from './view.js';

/** @typedef {import('../decoder/index.js').Gop} Gop */
/** @typedef {import('./view.js').Shot} Shot */
/** @typedef {OffscreenCanvasRenderingContext2D | CanvasRenderingContext2D} Context */

/** Draws with the decoder's own functions, into a canvas of two dimensions. */
export class CpuBackend {
  static title = 'CPU';

  /**
   * @param {HTMLCanvasElement | OffscreenCanvas} canvas
   * @param {Readonly<import('../decoder/budget.js').Budget>} budget
   * @returns {Promise<CpuBackend>}
   */
  static async create(canvas, budget) {
    const context = /** @type {Context | null} */ (canvas.getContext('2d', { willReadFrequently: true }));
    if (!context) throw new Error('the canvas is in use by a renderer of another kind');
    return new CpuBackend(context, budget);
  }

  /**
   * @param {Context} context
   * @param {Readonly<import('../decoder/budget.js').Budget>} budget
   */
  constructor(context, budget) {
    this.context = context;
    this.budget = budget;
    /** The GoP that was drawn last. */
    this.loaded = { gop: /** @type {Gop | null} */ (null), renderer: /** @type {GopRenderer | null} */ (null) };
  }

  /**
   * @param {Gop} gop
   * @returns {GopRenderer}
   */
  load(gop) {
    let { renderer } = this.loaded;
    if (!renderer || this.loaded.gop !== gop) {
      renderer = new GopRenderer(gop.parameters, gop.size, this.budget);
      this.loaded = { gop, renderer };
    }
    return renderer;
  }

  /** @param {Shot} shot */
  async draw(shot) {
    const { gop, kind, from, to, share, scale, width, height, clip } = shot;
    checkMemory(`a canvas of ${width} x ${height} pixels`, 4 * width * height, this.budget.memory);
    const { context } = this;
    const renderer = this.load(gop);
    let gaussians = renderer.gaussiansAt(from + share);
    if (kind === 'bits') gaussians = weightByBits(gaussians, bitWeights(gop));
    // What is left of the picture begins at the left upper corner of the clip.
    const origin = { scale, x: shot.x + clip.left / scale, y: shot.y + clip.top / scale };
    const splats = placeSplats(gaussians, origin);
    if (context.canvas.width !== width) context.canvas.width = width;
    if (context.canvas.height !== height) context.canvas.height = height;
    context.clearRect(0, 0, width, height);
    if (!clip.width || !clip.height) return;
    const { data } = drawSplats(splats, clip.width, clip.height, this.budget.work);
    if (kind === 'bits') heat(data);
    if (kind === 'ellipses' || kind === 'motion') dim(data);
    const pixels = /** @type {Uint8ClampedArray<ArrayBuffer>} */ (data);
    context.putImageData(new ImageData(pixels, clip.width, clip.height), clip.left, clip.top);
    context.save();
    context.beginPath();
    context.rect(clip.left, clip.top, clip.width, clip.height);
    context.clip();
    context.translate(clip.left, clip.top);
    if (kind === 'ellipses') outline(context, splats);
    if (kind === 'motion' && to !== from) {
      const ends = [from, to].map((k) => renderer.gaussiansOfFrame(k));
      arrows(context, gaussians, ends[0], ends[1], arrowStride(shot), origin);
    }
    context.restore();
  }

  /** @returns {Promise<Uint8Array>} [height][width][4]: R, G, B, A of the last picture */
  async readPixels() {
    const { width, height } = this.context.canvas;
    return new Uint8Array(this.context.getImageData(0, 0, width, height).data.buffer);
  }

  destroy() {
    this.loaded = { gop: null, renderer: null };
  }
}

/**
 * @param {Float32Array} gaussians [N][8]
 * @param {Float32Array} weights [N], of bitWeights
 * @returns {Float32Array} [N][8] whose colours are shades of grey by bits a pixel
 */
function weightByBits(gaussians, weights) {
  const result = gaussians.slice();
  for (let i = 0; i < result.length; i += 8)
    result.fill(weights[i / 8] / (result[i + 2] * result[i + 4]), i + 5, i + 8);
  return result;
}

/** @param {Uint8ClampedArray} data pixels of grey, which become black, red, yellow, white */
function heat(data) {
  for (let i = 0; i < data.length; i += 4) {
    const grey = data[i];
    for (let c = 0; c < 3; c++) data[i + c] = 3 * grey - 255 * c;
  }
}

/** @param {Uint8ClampedArray} data pixels */
function dim(data) {
  for (let i = 0; i < data.length; i++) if (i % 4 !== 3) data[i] *= DIM;
}

/**
 * @param {Context} context
 * @param {import('../decoder/splat.js').Splats} splats
 */
function outline(context, { count, numbers }) {
  // The lighter of two colours wins, so that no order matters.
  context.globalCompositeOperation = 'lighten';
  for (let i = 0; i < 8 * count; i += 8) {
    const [mx, my, l1, l2, l3, ...color] = numbers.subarray(i, i + 8);
    const brightest = Math.max(...color);
    const shown = brightest > 0 ? color.map((c) => Math.max(0.2, c / brightest)) : [1, 0.2, 0.6];
    context.strokeStyle = `rgb(${shown.map((c) => Math.round(255 * c)).join(' ')})`;
    context.save();
    context.transform(l1, l2, 0, l3, mx, my);
    context.beginPath();
    context.arc(0, 0, 1, 0, 2 * Math.PI);
    context.restore();
    context.stroke();
  }
}

/**
 * @param {Context} context
 * @param {Float32Array} gaussians [N][8] where the arrows begin
 * @param {Float32Array} from [N][8] of a frame
 * @param {Float32Array} to [N][8] of the next one
 * @param {number} stride every how many Gaussians an arrow is drawn
 * @param {{ scale: number, x: number, y: number }} viewport
 */
function arrows(context, gaussians, from, to, stride, { scale, x, y }) {
  context.fillStyle = 'rgb(255 224 64)';
  for (let i = 0; i < gaussians.length; i += 8 * stride) {
    const along = [0, 1].map((axis) => (to[i + axis] - from[i + axis]) * ARROW_FRAMES * scale);
    const length = Math.hypot(...along);
    if (!(length >= 1 && length < 2 ** 20)) continue;
    context.save();
    context.translate((gaussians[i] - x) * scale, (gaussians[i + 1] - y) * scale);
    context.transform(along[0] / length, along[1] / length, -along[1] / length, along[0] / length, 0, 0);
    context.beginPath();
    const head = Math.min(6, length);
    for (const [u, v] of [
      [0, 0.75],
      [length - head, 0.75],
      [length - head, 3],
      [length, 0],
    ])
      context.lineTo(u, v);
    for (const [u, v] of [
      [length - head, -3],
      [length - head, -0.75],
      [0, -0.75],
    ])
      context.lineTo(u, v);
    context.fill();
    context.restore();
  }
}
