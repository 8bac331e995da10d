/**
 * The parameters of a GoP as a GPU takes them: numbers of four to a place, in one array.
 */
import { checkFieldWork, FREE_WORK } from '../decoder/budget.js';
import { BudgetError } from '../decoder/errors.js';
import { timeEncoding, timeOf } from '../decoder/field.js';
import { lowPass } from '../decoder/splat.js';
import { bitWeights } from './view.js';

/** @typedef {import('../decoder/index.js').Gop} Gop */
/** @typedef {import('../decoder/payload.js').GopHeader} GopHeader */

/**
 * An affine layer. For each input, and then for the bias, there is a number for each output, in places of four outputs.
 *
 * @typedef {object} Layer
 * @property {number} start place of the first number
 * @property {number} inputs a multiple of four; what fills it up has weights of 0
 * @property {number} quads places of four outputs
 */

/**
 * @typedef {object} PackedGop
 * @property {Float32Array} data places of four numbers: [N][2] Gaussians, layers, [N/4] weights of bits, hash tables
 * @property {Uint32Array} levels [levels][8]: cells along x, y, t (0 in a 2D level), the first number of its table, the
 *   mask of its hash (0: dense), features of an entry, number of its first feature among the inputs of the MLP, 0
 * @property {Layer[]} layers w1, w2 and the heads, whose outputs are delta_mu, delta_l, delta_c: eight numbers
 * @property {number} bits place of the weights of bits
 * @property {number} count N
 */

/** Collects arrays in places of four numbers. */
class Places {
  length = 0;
  /** @type {{ start: number, numbers: Float32Array }[]} */
  parts = [];

  /**
   * @param {Float32Array} numbers
   * @returns {number} the place of the first one
   */
  add(numbers) {
    const start = this.length;
    this.parts.push({ start, numbers });
    this.length += Math.ceil(numbers.length / 4);
    return start;
  }

  /** @returns {Float32Array} */
  join() {
    const data = new Float32Array(4 * this.length);
    for (const { start, numbers } of this.parts) data.set(numbers, 4 * start);
    return data;
  }
}

/**
 * @param {Gop} gop
 * @param {Readonly<import('../decoder/budget.js').Budget>} budget which the work of its frames must not exceed
 * @returns {PackedGop}
 */
export function packGop(gop, budget) {
  const { parameters, size } = gop;
  const { header, tensors } = parameters;
  checkFieldWork(header, size, budget);
  const gaussians = packGaussians(gop);
  checkCoveredWork(gaussians, header.shapeHead, size, budget);
  const places = new Places();
  places.add(gaussians);
  const { mlpWidth: width, nInputs } = header;
  const shapes = header.shapeHead
    ? [tensors.w_shapes, tensors.b_shapes]
    : [new Float32Array(3 * width), new Float32Array(3)];
  const heads = [[tensors.w_means, tensors.b_means], shapes, [tensors.w_colors, tensors.b_colors]];
  const layers = [
    addLayer(places, tensors.w1, tensors.b1, nInputs),
    addLayer(places, tensors.w2, tensors.b2, width),
    addLayer(places, join(heads.map(([weights]) => weights)), join(heads.map(([, bias]) => bias)), width),
  ];
  const bits = places.add(bitWeights(gop));
  const levels = packLevels(places, parameters);
  return { data: places.join(), levels, layers, bits, count: header.nGaussians };
}

/**
 * @param {Float32Array[]} arrays
 * @returns {Float32Array}
 */
function join(arrays) {
  const joined = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0));
  arrays.reduce((at, numbers) => (joined.set(numbers, at), at + numbers.length), 0);
  return joined;
}

/**
 * @param {Gop} gop
 * @returns {Float32Array} [N][8]: mu, L after the low-pass, c
 */
function packGaussians({ parameters }) {
  const { header, means, factors, colors } = parameters;
  const numbers = new Float32Array(8 * header.nGaussians);
  const factor = new Float64Array(3);
  for (let i = 0; i < header.nGaussians; i++) {
    for (let j = 0; j < 3; j++) factor[j] = factors[3 * i + j];
    if (header.lowPass > 0) lowPass(factor, header.lowPass);
    numbers.set(means.subarray(2 * i, 2 * i + 2), 8 * i);
    numbers.set(factor, 8 * i + 2);
    numbers.set(colors.subarray(3 * i, 3 * i + 3), 8 * i + 5);
  }
  return numbers;
}

/**
 * @param {Places} places
 * @param {Float32Array} weights [rows][columns]
 * @param {Float32Array} bias [rows]
 * @param {number} columns
 * @returns {Layer}
 */
function addLayer(places, weights, bias, columns) {
  const rows = bias.length;
  const inputs = 4 * Math.ceil(columns / 4);
  const quads = Math.ceil(rows / 4);
  const numbers = new Float32Array((inputs + 1) * 4 * quads);
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < columns; i++) numbers[4 * quads * i + row] = weights[row * columns + i];
    numbers[4 * quads * inputs + row] = bias[row];
  }
  return { start: places.add(numbers), inputs, quads };
}

/**
 * @param {Places} places
 * @param {import('../decoder/dequantize.js').GopParameters} parameters
 * @returns {Uint32Array}
 */
function packLevels(places, { header, staticTables, dynamicTables }) {
  /** @type {number[]} */
  const numbers = [];
  let input = 0;
  for (const [encoding, tables] of /** @type {const} */ ([
    [header.static, staticTables],
    [header.dynamic, dynamicTables],
  ])) {
    encoding.levels.forEach(({ resolutions: [x, y, t = 0], dense, entries }, i) => {
      const first = 4 * places.add(tables[i]);
      numbers.push(x, y, t, first, dense ? 0 : entries - 1, encoding.features, input, 0);
      input += encoding.features;
    });
  }
  return Uint32Array.from(numbers);
}

/**
 * Refuses Gaussians that may cover more than the budget allows in any frame of the GoP.
 *
 * @param {Float32Array} gaussians [N][8]
 * @param {boolean} shapeHead whether shapes change
 * @param {{ width: number, height: number }} size
 * @param {Readonly<import('../decoder/budget.js').Budget>} budget
 */
function checkCoveredWork(gaussians, shapeHead, { width, height }, budget) {
  const growth = shapeHead ? Math.E : 1;
  let covered = 0;
  for (let i = 0; i < gaussians.length; i += 8) {
    const across = 6 * Math.max(0.5, gaussians[i + 2] * growth) + 1;
    const l3 = Math.max(0.5, gaussians[i + 4] * growth);
    const shear = Math.abs(gaussians[i + 3] / gaussians[i + 4]) + (shapeHead ? 1 : 0);
    covered += Math.min(width, across) * Math.min(height, 6 * l3 * Math.hypot(1, shear) + 1);
  }
  if (covered > FREE_WORK && covered > budget.work * width * height) {
    const found = Math.round(covered / (width * height));
    throw new BudgetError('work of the frame', `may draw ${found} Gaussians a pixel, the budget allows ${budget.work}`);
  }
}

/**
 * @param {GopHeader} header
 * @param {number} k frame of the GoP
 * @returns {{ t: number, gamma: Float32Array }} its time and the time encoding, filled up to 32 numbers
 */
export function timeInputs(header, k) {
  const t = timeOf(k, header.nFrames);
  const gamma = new Float32Array(32);
  gamma.set(timeEncoding(t, header.nFrequencies));
  return { t, gamma };
}
