/**
 * What is drawn, and where: worked out once for all renderers.
 */
import { StgvError } from '../decoder/errors.js';
import { scaledLength } from '../decoder/splat.js';

/** @typedef {import('../decoder/index.js').Gop} Gop */

/**
 * `picture` is the picture. `ellipses` dims it and outlines each Gaussian at one standard deviation, in its colour made
 * bright; those that only take light away are pink. `motion` dims it and draws arrows, eight times as long as what
 * their Gaussians move until the next frame. `bits` is a map of the bits that the Gaussians cost, from black (none) over
 * red and yellow to white (four times the mean of the picture). `frozen` holds the field at the first frame of the GoP.
 *
 * @typedef {'picture' | 'ellipses' | 'motion' | 'bits' | 'frozen'} ViewKind
 */

/**
 * @typedef {object} View
 * @property {ViewKind} [kind] picture by default
 * @property {number} [x] the point of the picture in the left upper corner of the canvas, pixels of the coded size
 * @property {number} [y]
 * @property {number} [scale] pixels of the canvas over pixels of the coded size; by default the picture fits the canvas
 */

/**
 * @typedef {object} DrawRequest
 * @property {Gop} gop
 * @property {number} time in frames of the GoP, 0 to T - 1; between frames Gaussians go straight from one to the next
 * @property {{ width: number, height: number }} size of the canvas, pixels
 * @property {View} [view]
 */

/**
 * A request, worked out.
 *
 * @typedef {object} Shot
 * @property {Gop} gop
 * @property {ViewKind} kind
 * @property {number} from frame of the GoP
 * @property {number} to the next frame; `from` where no other frame takes part
 * @property {number} share of the way between the two, 0 to 1
 * @property {number} scale
 * @property {number} x
 * @property {number} y
 * @property {number} width of the canvas, pixels
 * @property {number} height
 * @property {{ left: number, top: number, width: number, height: number }} clip what the picture covers of the canvas;
 *   around it the canvas is transparent
 */

/** Arrows that are drawn at once, about: more would hide one another. */
const MAX_ARROWS = 4096;

/** How many times as long as the motion until the next frame an arrow is. */
export const ARROW_FRAMES = 8;

/** What is left of the picture's light under ellipses and arrows. */
export const DIM = 0.35;

/** The integral of w over the plane, for l1 = l3 = 1. */
const FOOTPRINT = 2 * Math.PI * (1 - 5.5 * Math.exp(-4.5));

/**
 * @param {DrawRequest} request
 * @returns {Shot}
 */
export function planShot({ gop, time, size, view = {} }) {
  const { nFrames } = gop.parameters.header;
  const { width, height } = size;
  const kind = view.kind ?? 'picture';
  if (!(time >= 0 && time <= nFrames - 1)) throw new RangeError(`time ${time}, the GoP has 0 to ${nFrames - 1}`);
  if (![width, height].every((length) => Number.isInteger(length) && length > 0)) {
    throw new RangeError(`a canvas of ${width} x ${height} pixels, expected whole numbers above 0`);
  }
  const { x = 0, y = 0, scale = Math.min(width / gop.size.width, height / gop.size.height) } = view;
  if (!(scale > 0 && scale < Infinity && Math.abs(x) < Infinity && Math.abs(y) < Infinity)) {
    throw new RangeError(`a view of scale ${scale} at ${x}, ${y}, expected finite numbers and a scale above 0`);
  }
  const horizontal = clipAxis(x, scale, gop.size.width, width);
  const vertical = clipAxis(y, scale, gop.size.height, height);
  const clip = { left: horizontal.start, top: vertical.start, width: horizontal.length, height: vertical.length };
  return { gop, kind, ...between(kind, time, nFrames), scale, x, y, width, height, clip };
}

/**
 * @param {ViewKind} kind
 * @param {number} time
 * @param {number} nFrames T
 * @returns {{ from: number, to: number, share: number }}
 */
function between(kind, time, nFrames) {
  if (kind === 'frozen') return { from: 0, to: 0, share: 0 };
  const k = Math.floor(time);
  // An arrow needs two frames. In the last frame it shows the motion from the one before.
  if (kind === 'motion' && nFrames > 1) {
    const from = Math.min(k, nFrames - 2);
    return { from, to: from + 1, share: time - from };
  }
  return { from: k, to: time === k ? k : k + 1, share: time - k };
}

/**
 * @param {number} offset the picture's point at the beginning of the canvas
 * @param {number} scale
 * @param {number} coded pixels of the coded size
 * @param {number} canvas pixels of the canvas
 * @returns {{ start: number, length: number }} what the picture covers of the canvas, pixels
 */
function clipAxis(offset, scale, coded, canvas) {
  const first = Math.round(-offset * scale);
  const start = Math.min(canvas, Math.max(0, first));
  return { start, length: Math.max(0, Math.min(canvas, first + scaledLength(coded, scale)) - start) };
}

/**
 * @param {Shot} shot
 * @returns {number} every how many Gaussians an arrow is drawn; as they are sorted along a Morton curve, those that are
 *   drawn lie evenly among them
 */
export function arrowStride({ gop, clip, scale }) {
  const visible = (clip.width * clip.height) / (scale * scale * gop.size.width * gop.size.height);
  return Math.max(1, Math.ceil((Math.min(1, visible) * gop.parameters.header.nGaussians) / MAX_ARROWS));
}

/**
 * @param {Gop} gop
 * @returns {Float32Array} [N]: the weight of each Gaussian in the map of bits, times l1 l3; a sum of 1 of the weighted
 *   Gaussians is four times the mean number of bits a pixel
 */
export function bitWeights({ parameters: { bits }, size }) {
  const mean = bits.reduce((a, b) => a + b, 0) / (size.width * size.height);
  return bits.map((count) => (mean > 0 ? count / (FOOTPRINT * 4 * mean) : 0));
}

/**
 * @param {string} name of a renderer
 * @param {Shot} shot
 * @param {number} largest pixels along a side
 */
export function checkSize(name, { width, height }, largest) {
  if (width > largest || height > largest) {
    throw new StgvError(name, `a canvas of ${width} x ${height} pixels, this device has at most ${largest} a side`);
  }
}
