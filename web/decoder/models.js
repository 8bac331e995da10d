import { hex, refuse } from './errors.js';
import { BitReader } from './reader.js';

/** @typedef {import('./reader.js').ByteReader} ByteReader */

const TOTAL = 2 ** 24;
const ONE = 2 ** 30;
const LOOKUP_SHIFT = 14;

/**
 * A model whose symbols are coded by ANS: cumulative[s] is the sum of the frequencies of the symbols below s, for s from
 * 0 to A. lookup[i] is the symbol of slot i * 2^14, from which the search for a symbol begins.
 *
 * @typedef {{ kind: 'ans', cumulative: Uint32Array, lookup: Uint8Array }} AnsModel
 */

/**
 * A model (section 5.2).
 *
 * @typedef {AnsModel | { kind: 'constant', symbol: number } | { kind: 'raw', symbols: Uint8Array }} Model
 */

/**
 * @param {ArrayLike<number>} frequencies a frequency for each symbol, which sum to 2^24
 * @returns {AnsModel}
 */
export function ansModel(frequencies) {
  const cumulative = new Uint32Array(frequencies.length + 1);
  for (let s = 0; s < frequencies.length; s++) cumulative[s + 1] = cumulative[s] + frequencies[s];
  const lookup = new Uint8Array(TOTAL >> LOOKUP_SHIFT);
  for (let i = 0, s = 0; i < lookup.length; i++) {
    while (cumulative[s + 1] <= i << LOOKUP_SHIFT) s++;
    lookup[i] = s;
  }
  return { kind: 'ans', cumulative, lookup };
}

/**
 * @param {ByteReader} reader
 * @param {string} name of the symbol array, for errors
 * @param {number} n symbols of the array
 * @param {number} alphabet A, 2 to 256
 * @param {boolean} allowRaw
 * @returns {Model}
 */
export function readModel(reader, name, n, alphabet, allowRaw) {
  const where = reader.where(`${name} model`);
  const first = reader.u8(`${name} model`);
  const mode = first & 3;
  const p = first >> 2;
  if (mode === 0 && p === 0) return { kind: 'constant', symbol: reader.u8(`${name} symbol`, 0, alphabet - 1) };
  if (mode === 0 && p === 1 && allowRaw) return readRaw(reader, name, n, alphabet);
  if (mode === 1 && p >= 1 && p <= 14) return ansModel(readFrequencyTable(reader, name, p, alphabet));
  if (mode === 0 || (mode === 1 && p < 16) || (mode === 1 && p > 31)) {
    refuse(where, `found ${hex(first, 2)} (mode ${mode}, p ${p}), which is no model here`);
  }
  const centre = reader.u8(`${name} centre`, 0, alphabet - 1);
  const family = mode === 1 ? 'narrow' : mode === 2 ? 'geometric' : 'normal';
  return ansModel(familyFrequencies(family, mode === 1 ? p - 16 : p, centre, alphabet));
}

/**
 * @param {ByteReader} reader
 * @param {string} name
 * @param {number} n
 * @param {number} alphabet
 * @returns {Model}
 */
function readRaw(reader, name, n, alphabet) {
  const where = reader.where(`${name} raw symbols`);
  const bitsEach = 32 - Math.clz32(alphabet - 1);
  const bits = new BitReader(reader.take(`${name} raw symbols`, Math.ceil((n * bitsEach) / 8)), where);
  const symbols = new Uint8Array(n);
  for (let i = 0; i < n; i++) {
    const symbol = bits.bits(bitsEach);
    if (symbol >= alphabet) refuse(where, `found the symbol ${symbol} at ${i}, expected 0 to ${alphabet - 1}`);
    symbols[i] = symbol;
  }
  bits.align();
  return { kind: 'raw', symbols };
}

/**
 * @param {BitReader} bits
 * @param {number} order
 * @returns {number} the value of an Exp-Golomb code
 */
function expGolomb(bits, order) {
  let zeros = 0;
  while (bits.bits(1) === 0) {
    if (++zeros > 16) refuse(bits.where, 'found an Exp-Golomb code of more than 16 zero bits');
  }
  return 2 ** (zeros + order) + bits.bits(zeros + order) - 2 ** order;
}

/**
 * Reads a transmitted frequency table (section 5.3).
 *
 * @param {ByteReader} reader
 * @param {string} name
 * @param {number} p 1 to 14
 * @param {number} alphabet
 * @returns {Uint32Array} frequencies that sum to 2^24
 */
export function readFrequencyTable(reader, name, p, alphabet) {
  const where = reader.where(`${name} frequency table`);
  const bits = new BitReader(reader.bytes.subarray(reader.position), where);
  const frequencies = new Uint32Array(alphabet);
  let present = 0;
  let order = 0;
  let s = 0;
  let remaining = 2 ** p;
  while (remaining > 0) {
    if (s >= alphabet)
      refuse(where, `the frequencies of ${alphabet} symbols sum to ${2 ** p - remaining}, expected ${2 ** p}`);
    const f = expGolomb(bits, order);
    if (f > remaining) refuse(where, `found the frequency ${f} of symbol ${s}, expected at most ${remaining}`);
    frequencies[s++] = f * 2 ** (24 - p);
    remaining -= f;
    order = 32 - Math.clz32(f);
    if (f === 0) s += expGolomb(bits, 0);
    else present++;
  }
  reader.position += bits.align();
  if (present < 2) refuse(where, `found ${present} symbols with a frequency, expected at least 2`);
  return frequencies;
}

/**
 * (a * b) >> 30 for integers up to 2^30, whose product a Number could not hold.
 *
 * @param {number} a
 * @param {number} b
 * @returns {number}
 */
function multiply30(a, b) {
  const high = Math.floor(a / 32768);
  const low = a % 32768;
  return Math.floor((high * b + Math.floor((low * b) / 32768)) / 32768);
}

/**
 * The frequencies of a family (section 5.4).
 *
 * @param {'geometric' | 'normal' | 'narrow'} family
 * @param {number} width p
 * @param {number} centre
 * @param {number} alphabet
 * @returns {Uint32Array} frequencies that sum to 2^24
 */
export function familyFrequencies(family, width, centre, alphabet) {
  let q = 63 * 2 ** 24;
  for (let i = 0; i < width; i++) {
    q = family === 'geometric' ? Math.floor((q * 29) / 32) : Math.floor((q * 55) / 64);
  }
  let r = family === 'narrow' ? ONE >> (7 + width) : ONE - q;
  const m = family === 'normal' ? multiply30(r, r) : ONE;
  const weights = new Uint32Array(alphabet);
  weights[0] = ONE;
  for (let d = 0; d + 1 < alphabet; d++) {
    weights[d + 1] = multiply30(weights[d], r);
    r = multiply30(r, m);
  }
  let sum = 0;
  for (let s = 0; s < alphabet; s++) sum += weights[Math.abs(s - centre)];
  const frequencies = new Uint32Array(alphabet);
  const spread = TOTAL - alphabet;
  const spreadHigh = spread >> 12;
  const spreadLow = spread & 4095;
  let total = 0;
  for (let s = 0; s < alphabet; s++) {
    // A long division in two digits of 12 bits, as the product may pass 2^53.
    const weight = weights[Math.abs(s - centre)];
    const first = weight * spreadHigh;
    const quotient = Math.floor(first / sum);
    const second = (first - quotient * sum) * 4096 + weight * spreadLow;
    frequencies[s] = 1 + quotient * 4096 + Math.floor(second / sum);
    total += frequencies[s];
  }
  frequencies[centre] += TOTAL - total;
  return frequencies;
}
