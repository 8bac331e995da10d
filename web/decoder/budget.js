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
  // A Gaussian has at most 24 bytes of symbols and sorting, 32 of parameters, 4 a feature of the 2D encoding (which does
  // not change with time), and 72 while a frame is rendered.
  const gaussian = 24 + 32 + 4 * nFeatures + 72;
  return 5 * (gridEntries(header.static) + gridEntries(header.dynamic) + weights) + header.nGaussians * gaussian;
}
