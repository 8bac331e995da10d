/**
 * Searches by halves.
 *
 * @param {number} length how many indices there are, counted from 0
 * @param {(index: number) => boolean} holds true up to an index, and false behind it
 * @returns {number} the last index for which it holds, at least 0
 */
export function lastWhere(length, holds) {
  let low = 0;
  let high = length;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (holds(middle)) low = middle;
    else high = middle;
  }
  return low;
}
