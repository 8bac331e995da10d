import { refuse } from './errors.js';
import { MAX_FRAMES, MAX_GOP_FRAMES, MAX_PTS, MAX_PTS_STEP } from './limits.js';
import { ByteReader } from './reader.js';
import { lastWhere } from './search.js';

/**
 * The table GOP_CHUNK, which the index repeats (sections 3.3 and 3.4).
 *
 * @typedef {object} GopTiming
 * @property {number} firstFrame number of the first frame in the file
 * @property {number} nFrames
 * @property {bigint} ptsFirst timestamp of the first frame, units of the time base
 * @property {number} ptsStep constant difference of timestamps, or 0
 * @property {Uint8Array} deltas where ptsStep is 0, the differences as they are coded; else empty
 * @property {bigint} ptsLast timestamp of the last frame
 */

/**
 * Differences stay in their coded form, which has one representation only: a table of numbers would take up to eight
 * times the bytes of the file.
 *
 * @param {ByteReader} reader
 * @returns {GopTiming}
 */
export function readTiming(reader) {
  const firstFrame = reader.uint('first_frame', 0, MAX_FRAMES);
  const nFrames = reader.uint('n_frames', 1, MAX_GOP_FRAMES);
  const ptsFirst = reader.sint('pts_first', -MAX_PTS, MAX_PTS);
  const ptsStep = reader.uint('pts_step', 0, MAX_PTS_STEP);
  const nDeltas = ptsStep > 0 ? 0 : nFrames - 1;
  reader.count('pts_deltas', nDeltas);
  const start = reader.position;
  // The sum stays below 2^50, so a Number holds it.
  let span = ptsStep * (nFrames - 1);
  for (let i = 0; i < nDeltas; i++) span += reader.uint(`pts_deltas[${i}]`, 1, MAX_PTS_STEP);
  const deltas = reader.bytes.subarray(start, reader.position);
  return { firstFrame, nFrames, ptsFirst, ptsStep, deltas, ptsLast: ptsFirst + BigInt(span) };
}

/**
 * @param {GopTiming} timing
 * @returns {bigint[]} the timestamp of each frame, units of the time base
 */
export function timestamps(timing) {
  const reader = new ByteReader(timing.deltas, 'pts_deltas');
  const result = [timing.ptsFirst];
  let sum = 0;
  for (let i = 1; i < timing.nFrames; i++) {
    sum += timing.ptsStep || reader.uint(`[${i - 1}]`, 1, MAX_PTS_STEP);
    result.push(timing.ptsFirst + BigInt(sum));
  }
  return result;
}

/**
 * A GoP as the index describes it.
 *
 * @typedef {GopTiming & { offset: number, payloadBytes: number, nGaussians: number }} GopEntry
 */

/**
 * The GoPs of a file in order. They lie in typed arrays: an index of 2^28 bytes may list millions.
 */
export class GopTable {
  /**
   * @param {number} capacity largest number of GoPs
   * @param {boolean} [gaps] whether frames between GoPs may be missing, as they may after recovery
   */
  constructor(capacity, gaps = false) {
    this.gaps = gaps;
    this.length = 0;
    /** Frames of all GoPs so far, those that are missing between them included. */
    this.nFrames = 0;
    this.ptsLast = 0n;
    this.offsets = new Float64Array(capacity);
    this.payloadBytes = new Uint32Array(capacity);
    this.nGaussians = new Uint32Array(capacity);
    this.firstFrames = new Float64Array(capacity);
    this.frameCounts = new Uint16Array(capacity);
    this.ptsFirsts = new BigInt64Array(capacity);
    this.ptsSteps = new Float64Array(capacity);
    this.deltaStarts = new Uint32Array(capacity);
    this.deltaEnds = new Uint32Array(capacity);
    /** The bytes in which deltaStarts and deltaEnds count. @type {Uint8Array} */
    this.deltaBytes = new Uint8Array(0);
  }

  /**
   * Appends a GoP, whose frames and timestamps must come right behind those of the GoP before it.
   *
   * @param {GopTiming} timing
   * @param {{ offset: number, payloadBytes: number, nGaussians: number }} place
   * @param {number} deltaStart place of timing.deltas in deltaBytes
   * @param {string} where for errors
   */
  push(timing, place, deltaStart, where) {
    const framesBefore = this.gaps ? Math.max(this.nFrames, timing.firstFrame) : this.nFrames;
    checkOrder(timing, framesBefore, this.length ? this.ptsLast : null, where);
    const i = this.length++;
    this.offsets[i] = place.offset;
    this.payloadBytes[i] = place.payloadBytes;
    this.nGaussians[i] = place.nGaussians;
    this.firstFrames[i] = timing.firstFrame;
    this.frameCounts[i] = timing.nFrames;
    this.ptsFirsts[i] = timing.ptsFirst;
    this.ptsSteps[i] = timing.ptsStep;
    this.deltaStarts[i] = deltaStart;
    this.deltaEnds[i] = deltaStart + timing.deltas.length;
    this.nFrames = timing.firstFrame + timing.nFrames;
    this.ptsLast = timing.ptsLast;
  }

  /**
   * @param {number} i 0 to length - 1
   * @returns {GopEntry}
   */
  get(i) {
    if (!Number.isInteger(i) || i < 0 || i >= this.length)
      throw new RangeError(`GoP ${i}, the file has ${this.length}`);
    const deltas = this.deltaBytes.subarray(this.deltaStarts[i], this.deltaEnds[i]);
    const entry = {
      offset: this.offsets[i],
      payloadBytes: this.payloadBytes[i],
      nGaussians: this.nGaussians[i],
      firstFrame: this.firstFrames[i],
      nFrames: this.frameCounts[i],
      ptsFirst: this.ptsFirsts[i],
      ptsStep: this.ptsSteps[i],
      deltas,
      ptsLast: 0n,
    };
    entry.ptsLast = timestamps(entry)[entry.nFrames - 1];
    return entry;
  }

  /**
   * @param {number} frame number of a frame in the file
   * @returns {{ gop: number, k: number }} number of its GoP and its number in the GoP; for a frame that is missing, those
   *   of the nearest frame that is there
   */
  locate(frame) {
    if (!Number.isInteger(frame) || frame < 0 || frame >= this.nFrames) {
      throw new RangeError(`frame ${frame}, the file has ${this.nFrames}`);
    }
    const gop = lastWhere(this.length, (i) => this.firstFrames[i] <= frame);
    const first = this.firstFrames[gop];
    const last = first + this.frameCounts[gop] - 1;
    if (frame > last && gop + 1 < this.length && this.firstFrames[gop + 1] - frame < frame - last)
      return { gop: gop + 1, k: 0 };
    return { gop, k: Math.min(last, Math.max(first, frame)) - first };
  }

  /**
   * @param {bigint} pts units of the time base
   * @returns {number} number of the frame that is shown then; the first frame before the beginning, the last one after
   *   the end
   */
  frameAt(pts) {
    const i = lastWhere(this.length, (index) => this.ptsFirsts[index] <= pts);
    const entry = this.get(i);
    const times = timestamps(entry);
    let k = 0;
    while (k + 1 < times.length && times[k + 1] <= pts) k++;
    return entry.firstFrame + k;
  }
}

/**
 * @param {GopTiming} timing
 * @param {number} framesBefore frames of all GoPs before
 * @param {bigint | null} ptsBefore timestamp of the frame before, if there is one
 * @param {string} where for errors
 */
export function checkOrder(timing, framesBefore, ptsBefore, where) {
  if (timing.firstFrame !== framesBefore) {
    refuse(where, `found first_frame ${timing.firstFrame}, expected ${framesBefore}, the frames of all GoPs before`);
  }
  if (ptsBefore !== null && timing.ptsFirst <= ptsBefore) {
    refuse(where, `found pts_first ${timing.ptsFirst}, expected more than ${ptsBefore}, that of the frame before`);
  }
}

/**
 * @param {GopTiming} found that of a GOP chunk
 * @param {GopTiming} expected that of the index
 * @param {string} where for errors
 */
export function checkSameTiming(found, expected, where) {
  for (const key of /** @type {const} */ (['firstFrame', 'nFrames', 'ptsFirst', 'ptsStep'])) {
    if (found[key] !== expected[key]) refuse(where, `found ${key} ${found[key]}, the index says ${expected[key]}`);
  }
  if (found.deltas.length !== expected.deltas.length || found.deltas.some((byte, i) => byte !== expected.deltas[i])) {
    refuse(where, 'found pts_deltas that differ from those of the index');
  }
}
