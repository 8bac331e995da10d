/** A picture between two frames needs both. */
const MOST = 2;

/**
 * What was computed for the frames that were asked for last is kept.
 *
 * @template T
 * @param {Map<number, T>} frames what is kept, by number of the frame; that which was asked for last comes last
 * @param {number} k number of a frame
 * @param {() => T} compute called where nothing is kept of it
 * @param {(old: T) => void} release called with what is kept no more
 * @returns {T}
 */
export function kept(frames, k, compute, release) {
  const frame = frames.get(k) ?? compute();
  frames.delete(k);
  frames.set(k, frame);
  const [[oldest, old]] = frames;
  if (frames.size > MOST) {
    release(old);
    frames.delete(oldest);
  }
  return frame;
}
