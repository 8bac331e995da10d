import { decodePlain } from './entropy.js';
import { refuse } from './errors.js';
import { BitReader } from './reader.js';

/** @typedef {import('./reader.js').ByteReader} ByteReader */

const ALPHABET = 132;

/**
 * @param {number} z 32 bits
 * @returns {number} the bits of even places, pushed together
 */
function evenBits(z) {
  z &= 0x55555555;
  z = (z | (z >>> 1)) & 0x33333333;
  z = (z | (z >>> 2)) & 0x0f0f0f0f;
  z = (z | (z >>> 4)) & 0x00ff00ff;
  return (z | (z >>> 8)) & 0xffff;
}

/**
 * Decodes the streams points and point_bits (section 4.4).
 *
 * @param {ByteReader} stream points
 * @param {ByteReader} bitStream point_bits
 * @param {number} n N
 * @param {0 | 1} pointMode
 * @param {Float32Array} costs [N], to which the bits of each point are added
 * @returns {{ x: Uint16Array, y: Uint16Array }} [N] each
 */
export function decodePoints(stream, bitStream, n, pointMode, costs) {
  const [buckets] = decodePlain(stream, [{ name: 'buckets', n, alphabet: ALPHABET, bits: costs }]);
  const bits = new BitReader(bitStream.bytes, bitStream.where('bits'));
  const x = new Uint16Array(n);
  const y = new Uint16Array(n);
  let z = 0;
  for (let i = 0; i < n; i++) {
    const bucket = buckets[i];
    if (bucket < 8 && (1 << bucket) & 0b10101110) {
      refuse('points', `found the bucket ${bucket} of Gaussian ${i}, which stands for no gap`);
    }
    const e = bucket >> 2;
    // For e < 2 the bucket holds all bits of the number behind its first one in its upper mantissa bit.
    const v = e < 2 ? (e === 0 ? 1 : 2 + ((bucket >> 1) & 1)) : (4 + (bucket & 3)) * 2 ** (e - 2) + bits.bits(e - 2);
    costs[i] += Math.max(0, e - 2);
    z += v - 1;
    if (z >= 2 ** 32) refuse('points', `found the Morton code ${z} of Gaussian ${i}, expected less than 2^32`);
    x[i] = evenBits(z);
    y[i] = evenBits(z >>> 1);
    if (pointMode === 0 && (x[i] < 0x0400 || x[i] > 0xfbff || y[i] < 0x0400 || y[i] > 0xfbff)) {
      refuse('points', `found the point ${x[i]}, ${y[i]} of Gaussian ${i}, which is not finite in binary16`);
    }
  }
  const used = bits.align();
  if (used !== bitStream.bytes.length) {
    refuse(bitStream.where('end', used), `${bitStream.bytes.length - used} bytes are left, expected none`);
  }
  return { x, y };
}
