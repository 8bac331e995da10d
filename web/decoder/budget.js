import { BudgetError } from './errors.js';

/** @typedef {import('./payload.js').GopHeader} GopHeader */

/**
 * Budgets against files that are valid, yet were made to exhaust a decoder (section 11).
 *
 * @typedef {object} Budget
 * @property {number} memory bytes for the parameters of a GoP and for a picture
 * @property {number} work Gaussians a pixel that a frame may cover in the mean; small frames are never refused
 */

/** @type {Readonly<Budget>} */
export const DEFAULT_BUDGET = Object.freeze({ memory: 1e9, work: 8192 });

/** Below this many covered pixels, or multiply-additions of the MLP, a frame is never refused. */
export const FREE_WORK = 2 ** 30;

/**
 * @param {string} what
 * @param {number} bytes needed
 * @param {number} allowed
 */
export function checkMemory(what, bytes, allowed) {
  if (bytes > allowed) throw new BudgetError(what, `would take ${bytes} bytes, the budget allows ${allowed}`);
}

/**
 * @param {GopHeader} header
 * @returns {number} bytes that the symbols and the parameters of the GoP take together, and rendering besides
 */
export function parameterBytes(header) {
  const gridEntries = (/** @type {import('./payload.js').Encoding} */ encoding) =>
    encoding.levels.reduce((sum, level) => sum + level.entries, 0) * encoding.features;
  const weights = header.tensors.reduce((sum, { rows, columns }) => sum + rows * columns, 0);
  const nFeatures = header.static.levels.length * header.static.features;
  // A Gaussian has at most 28 bytes of symbols and sorting, 32 of parameters, 4 a feature of the 2D encoding (which does
  // not change with time), and 32 each for the changes of a frame, two frames, what is between them and what is drawn.
  const gaussian = 28 + 32 + 4 * nFeatures + 5 * 32;
  return 5 * (gridEntries(header.static) + gridEntries(header.dynamic) + weights) + header.nGaussians * gaussian;
}

/**
 * Refuses a field whose network would take more work for each frame than the budget allows.
 *
 * @param {GopHeader} header
 * @param {{ width: number, height: number }} size of the coded pictures, pixels
 * @param {Readonly<Budget>} budget
 */
export function checkFieldWork(header, { width, height }, budget) {
  // A feature of the 3D encoding takes eight multiply-additions, and as many to find its entries.
  const gaussian = header.tensors.reduce((sum, { rows, columns }) => sum + rows * columns, 16 * header.nInputs);
  const work = header.nGaussians * gaussian;
  // A multiply-addition takes a small part of the time of a covered pixel, so that 16 of them count as one.
  if (work > 16 * FREE_WORK && work > 16 * budget.work * width * height) {
    throw new BudgetError('work of the frame', `the network takes ${work} multiply-additions, more than the budget`);
  }
}
