import { lastWhere } from '../decoder/search.js';

/** @typedef {import('./client.js').Description} Description */

/**
 * A place in a GoP.
 *
 * @typedef {object} Position
 * @property {number} gop number of the GoP
 * @property {number} k frame in the GoP
 * @property {number} share of the way to the next frame of the GoP, 0 to 1; 0 behind the last one
 */

/**
 * @param {ArrayLike<number>} values ascending
 * @param {number} value
 * @returns {number} the last index whose value is at most `value`, at least 0
 */
export function lastAtMost(values, value) {
  return lastWhere(values.length, (index) => values[index] <= value);
}

/**
 * @param {Float64Array} times of the frames of a GoP
 * @param {number} seconds
 * @returns {{ k: number, share: number }} the frame that is shown then, and how far the next one is
 */
export function frameAt(times, seconds) {
  const k = lastAtMost(times, seconds);
  if (k + 1 === times.length || seconds < times[0]) return { k, share: 0 };
  return { k, share: (seconds - times[k]) / (times[k + 1] - times[k]) };
}

/**
 * The time that is `n` frames from a place on. Frames of GoPs that are not loaded are taken to be evenly spaced.
 *
 * @param {Description} description
 * @param {(gop: number) => Float64Array | undefined} timesOf times of the frames of a GoP, where they are known
 * @param {Position} from
 * @param {number} n frames, forwards or, if negative, backwards
 * @returns {number} seconds
 */
export function timeOfStep(description, timesOf, from, n) {
  const { gopStarts, frameCounts, duration } = description;
  let { gop, k } = from;
  k += n;
  while (k < 0 && gop > 0) k += frameCounts[--gop];
  while (k >= frameCounts[gop] && gop + 1 < gopStarts.length) k -= frameCounts[gop++];
  k = Math.min(frameCounts[gop] - 1, Math.max(0, k));
  const times = timesOf(gop);
  if (times) return times[k];
  const end = gop + 1 < gopStarts.length ? gopStarts[gop + 1] : duration;
  // The middle of the frame, so that a time which is not quite right still shows it.
  return gopStarts[gop] + ((k + (k ? 0.5 : 0)) * (end - gopStarts[gop])) / frameCounts[gop];
}
