import { crc32 } from './crc32.js';
import { hex, refuse } from './errors.js';
import { readModel } from './models.js';

/** @typedef {import('./reader.js').ByteReader} ByteReader */

/** @typedef {import('./models.js').Model} Model */
/** @typedef {import('./models.js').AnsModel} AnsModel */

/** The ANS coder of a stream (section 5.5). Its state of 64 bits is held as two words of 32 bits. */
export class AnsDecoder {
  /**
   * @param {Uint8Array} bytes
   * @param {string} where for errors
   */
  constructor(bytes, where) {
    this.bytes = bytes;
    this.where = where;
    if (bytes.length && bytes[bytes.length - 1] === 0) refuse(where, 'the last byte of the coder is 0');
    this.wordsLeft = Math.ceil(bytes.length / 4);
    this.low = 0;
    this.high = 0;
    this.crc = 0;
    for (let i = 0; i < 2 && this.wordsLeft; i++) {
      this.high = this.low;
      this.low = this.popWord();
    }
  }

  /** @returns {number} */
  popWord() {
    const at = 4 * --this.wordsLeft;
    const { bytes } = this;
    // The 0 bytes that the file leaves out read as undefined, which bitwise operations take as 0.
    return (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
  }

  /**
   * @param {AnsModel} model
   * @param {Uint8Array} symbols is filled with as many symbols as it has places
   */
  decode(model, symbols) {
    const { cumulative, lookup } = model;
    let { low, high } = this;
    for (let i = 0; i < symbols.length; i++) {
      const slot = low & 0xffffff;
      let symbol = lookup[slot >>> 14];
      while (cumulative[symbol + 1] <= slot) symbol++;
      symbols[i] = symbol;
      const start = cumulative[symbol];
      const f = cumulative[symbol + 1] - start;
      // (state >> 24) * f + slot - start, with the state's parts of 16, 16 and 8 bits, so that no product passes 2^53.
      const top = (high >>> 16) * f;
      const rest = (top % 256) * 2 ** 24 + (high & 0xffff) * f * 256 + (low >>> 24) * f + slot - start;
      high = Math.floor(top / 256) + Math.floor(rest / 2 ** 32);
      low = rest % 2 ** 32;
      if (high === 0 && this.wordsLeft) {
        high = low;
        low = this.popWord();
      }
    }
    this.low = low;
    this.high = high;
    this.crc = crc32(symbols, this.crc);
  }

  /** Refuses a coder that does not end with its check. */
  finish() {
    const check = (this.crc & 0xffff) + 1;
    if (this.wordsLeft) refuse(this.where, `${this.wordsLeft} words are left after the last symbol, expected none`);
    if (this.high !== 0 || this.low !== check) {
      refuse(this.where, `the coder ends with the state ${hex(this.high)} ${hex(this.low, 8)}, expected ${hex(check)}`);
    }
  }
}

/**
 * @param {ByteReader} reader behind the models
 * @param {boolean} coded whether any model is ANS-coded
 * @returns {AnsDecoder | null}
 */
function readCoder(reader, coded) {
  if (!coded) {
    reader.end();
    return null;
  }
  const where = reader.where('coder');
  return new AnsDecoder(reader.take('coder', reader.remaining), where);
}

/**
 * Adds what symbols cost in an ideal coder, -log2 of their probabilities.
 *
 * @param {Model} model of the symbols
 * @param {number} alphabet A
 * @param {Uint8Array} symbols
 * @param {Float32Array} bits [N] is added to
 * @param {Uint32Array} [gaussians] the Gaussian of each symbol, by default that of the same number
 */
function addCosts(model, alphabet, symbols, bits, gaussians) {
  if (model.kind === 'constant') return;
  const costs = Float32Array.from({ length: alphabet }, (_, s) =>
    model.kind === 'raw'
      ? Math.ceil(Math.log2(alphabet))
      : 24 - Math.log2(model.cumulative[s + 1] - model.cumulative[s]),
  );
  for (let i = 0; i < symbols.length; i++) bits[gaussians ? gaussians[i] : i] += costs[symbols[i]];
}

/**
 * A symbol array of a plain stream: n symbols of an alphabet of A. Where it has a symbol for each Gaussian, their costs
 * may be added to `bits`.
 *
 * @typedef {{ name: string, n: number, alphabet: number, bits?: Float32Array }} SymbolArray
 */

/**
 * Decodes a plain stream (section 5.1).
 *
 * @param {ByteReader} reader at the beginning of the stream; the stream ends with it
 * @param {SymbolArray[]} arrays
 * @returns {Uint8Array[]} the symbols of each array
 */
export function decodePlain(reader, arrays) {
  const models = arrays.map(({ name, n, alphabet }) => readModel(reader, name, n, alphabet, true));
  const coder = readCoder(
    reader,
    models.some((model) => model.kind === 'ans'),
  );
  const result = arrays.map(({ n, alphabet, bits }, i) => {
    const model = models[i];
    const symbols = model.kind === 'raw' ? model.symbols : new Uint8Array(n);
    if (model.kind === 'constant') symbols.fill(model.symbol);
    else if (model.kind === 'ans') coder?.decode(model, symbols);
    if (bits) addCosts(model, alphabet, symbols, bits);
    return symbols;
  });
  coder?.finish();
  return result;
}

/**
 * An attribute of a conditional stream. Context symbols are those of attributes by name, of the same stream or known.
 *
 * @typedef {{ name: string, alphabet: number, context: string[] }} Attribute
 */

/**
 * Decodes a conditional stream (section 5.6).
 *
 * @param {ByteReader} reader at the beginning of the stream; the stream ends with it
 * @param {number} n N, symbols of each attribute
 * @param {Attribute[]} attributes
 * @param {Record<string, Uint8Array>} known symbols decoded before, by name; those of this stream are added
 * @param {Float32Array} bits [N], to which the costs of the symbols are added
 */
export function decodeConditional(reader, n, attributes, known, bits) {
  const models = attributes.map((attribute) => readClasses(reader, n, attribute));
  const coder = readCoder(
    reader,
    models.some((classes) => classes.models.some((model) => model.kind === 'ans')),
  );
  attributes.forEach(({ name, alphabet, context }, a) => {
    const symbols = new Uint8Array(n);
    const { thresholds, models: classModels } = models[a];
    // An attribute with one class needs no order, one with A = 1 has no model at all.
    const order =
      classModels.length > 1
        ? sortByClass(
            context.map((other) => known[other]),
            n,
            thresholds,
          )
        : null;
    let start = 0;
    classModels.forEach((model, c) => {
      const end = order ? start + order.counts[c] : n;
      const coded = order ? new Uint8Array(end - start) : symbols;
      if (model.kind === 'ans') coder?.decode(model, coded);
      else if (model.kind === 'constant') coded.fill(model.symbol);
      if (order) for (let i = start; i < end; i++) symbols[order.gaussians[i]] = coded[i - start];
      addCosts(model, alphabet, coded, bits, order?.gaussians.subarray(start, end));
      start = end;
    });
    known[name] = symbols;
  });
  coder?.finish();
}

/**
 * @param {ByteReader} reader
 * @param {number} n
 * @param {Attribute} attribute
 * @returns {{ thresholds: number[], models: Model[] }}
 */
function readClasses(reader, n, { name, alphabet, context }) {
  /** @type {number[]} */
  const thresholds = [];
  /** @type {Model[]} */
  const models = [];
  if (alphabet === 1) return { thresholds, models };
  const h = context.length ? reader.u8(`${name} thresholds`, 0, 15) : 0;
  for (let i = 0; i < h; i++) thresholds.push(reader.u8(`${name} threshold ${i}`, i ? thresholds[i - 1] + 1 : 1, 255));
  for (let c = 0; c <= h; c++) models.push(readModel(reader, `${name} class ${c}`, n, alphabet, false));
  return { thresholds, models };
}

/**
 * @param {Uint8Array[]} contexts the context symbols of each Gaussian
 * @param {number} n
 * @param {number[]} thresholds
 * @returns {{ gaussians: Uint32Array, counts: Uint32Array }} the Gaussians class after class, in stored order within a
 *   class, and how many each class has
 */
function sortByClass(contexts, n, thresholds) {
  const classOf = new Uint8Array(256);
  for (let value = 0; value < 256; value++)
    classOf[value] = thresholds.filter((threshold) => threshold <= value).length;
  const classes = new Uint8Array(n);
  const counts = new Uint32Array(thresholds.length + 1);
  for (let i = 0; i < n; i++) {
    let sum = 0;
    for (const symbols of contexts) sum += symbols[i];
    counts[(classes[i] = classOf[Math.min(255, sum)])]++;
  }
  const next = new Uint32Array(counts.length);
  for (let c = 1; c < counts.length; c++) next[c] = next[c - 1] + counts[c - 1];
  const gaussians = new Uint32Array(n);
  for (let i = 0; i < n; i++) gaussians[next[classes[i]]++] = i;
  return { gaussians, counts };
}
