import { refuse } from './errors.js';

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
const EMPTY = new Uint8Array(0);

/**
 * Reads the primitive types of section 2. Every read is checked against the end of the bytes and against the limits of
 * the element, and every error names the element and its byte.
 */
export class ByteReader {
  /**
   * @param {Uint8Array} bytes
   * @param {string} name table or stream that the bytes hold, for errors
   * @param {number} [base] place of bytes[0] in the file, for errors
   */
  constructor(bytes, name, base = 0) {
    this.bytes = bytes;
    this.name = name;
    this.base = base;
    /** Position of the next byte. @type {number} */
    this.position = 0;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.low = 0;
    this.high = 0;
  }

  /** Bytes that are left. */
  get remaining() {
    return this.bytes.length - this.position;
  }

  /**
   * @param {string} element
   * @param {number} [position]
   * @returns {string} element and place, for errors
   */
  where(element, position = this.position) {
    return `${this.name}.${element} at byte ${this.base + position}`;
  }

  /**
   * @param {string} element
   * @param {number} count bytes that must be left
   */
  need(element, count) {
    if (count > this.remaining) {
      refuse(this.where(element), `the data end after ${this.remaining} bytes, expected ${count}`);
    }
  }

  /**
   * @template {number | bigint} V
   * @param {string} element
   * @param {number} start
   * @param {V} value
   * @param {V} min
   * @param {V} max
   * @returns {V}
   */
  limit(element, start, value, min, max) {
    // The comparison is written so that NaN fails it.
    if (!(value >= min && value <= max))
      refuse(this.where(element, start), `found ${value}, expected ${min} to ${max}`);
    return value;
  }

  /**
   * @param {string} element
   * @param {number} [min]
   * @param {number} [max]
   * @returns {number}
   */
  u8(element, min = 0, max = 0xff) {
    this.need(element, 1);
    return this.limit(element, this.position - 1, this.bytes[this.position++], min, max);
  }

  /**
   * @param {string} element
   * @returns {number}
   */
  u16(element) {
    this.need(element, 2);
    this.position += 2;
    return this.view.getUint16(this.position - 2, true);
  }

  /**
   * @param {string} element
   * @returns {number}
   */
  u32(element) {
    this.need(element, 4);
    this.position += 4;
    return this.view.getUint32(this.position - 4, true);
  }

  /**
   * @param {string} element
   * @param {number} min
   * @param {number} max
   * @returns {number} a finite binary32 number
   */
  f32(element, min, max) {
    this.need(element, 4);
    this.position += 4;
    return this.limit(element, this.position - 4, this.view.getFloat32(this.position - 4, true), min, max);
  }

  /**
   * Reads an unsigned LEB128 number into low (49 bits) and high (15 bits): a Number is exact only up to 2^53.
   *
   * @param {string} element
   */
  leb128(element) {
    const start = this.position;
    let low = 0;
    let high = 0;
    for (let i = 0; ; i++) {
      if (i === 10) refuse(this.where(element, start), 'found a number of more than 10 bytes, expected at most 10');
      this.need(element, 1);
      const byte = this.bytes[this.position++];
      if (i < 7) low += (byte & 0x7f) * 2 ** (7 * i);
      else high += (byte & 0x7f) * 2 ** (7 * i - 49);
      if (byte < 0x80) {
        if (byte === 0 && i > 0) refuse(this.where(element, start), 'the number is not in its shortest form');
        break;
      }
    }
    if (high >= 2 ** 15) refuse(this.where(element, start), 'found a number of more than 64 bits, expected at most 64');
    this.low = low;
    this.high = high;
  }

  /**
   * @param {string} element
   * @param {number} min
   * @param {number} max at most 2^53 - 1
   * @returns {number}
   */
  uint(element, min, max) {
    const start = this.position;
    this.leb128(element);
    return this.limit(element, start, this.low + this.high * 2 ** 49, min, max);
  }

  /**
   * @param {string} element
   * @param {bigint} min
   * @param {bigint} max
   * @returns {bigint}
   */
  sint(element, min, max) {
    const start = this.position;
    this.leb128(element);
    const zigzag = (BigInt(this.high) << 49n) + BigInt(this.low);
    return this.limit(element, start, zigzag & 1n ? -((zigzag + 1n) >> 1n) : zigzag >> 1n, min, max);
  }

  /**
   * @param {string} element
   * @param {number} min least number of bytes
   * @param {number} max largest number of bytes
   * @returns {string}
   */
  text(element, min, max) {
    const start = this.position;
    const bytes = this.take(element, this.uint(element, min, max));
    let text = '';
    try {
      text = UTF8.decode(bytes);
    } catch {
      refuse(this.where(element, start), 'the text is not valid UTF-8');
    }
    if (CONTROL.test(text)) refuse(this.where(element, start), 'the text holds a control character');
    return text;
  }

  /**
   * Refuses an array that the bytes which are left cannot hold, before anything is allocated for it.
   *
   * @param {string} element
   * @param {number} count items
   * @param {number} [itemBytes] least bytes of an item
   */
  count(element, count, itemBytes = 1) {
    if (count * itemBytes > this.remaining) {
      refuse(this.where(element), `${count} items do not fit into the ${this.remaining} bytes that are left`);
    }
  }

  /**
   * @param {string} element
   * @param {number} count
   * @returns {Uint8Array} a view of the next `count` bytes
   */
  take(element, count) {
    this.need(element, count);
    this.position += count;
    return count ? this.bytes.subarray(this.position - count, this.position) : EMPTY;
  }

  /** Refuses bytes that no element claims. */
  end() {
    if (this.remaining) refuse(this.where('end'), `${this.remaining} bytes are left, expected none`);
  }
}

/** Reads bits from each byte most significant first. */
export class BitReader {
  /**
   * @param {Uint8Array} bytes
   * @param {string} where for errors
   */
  constructor(bytes, where) {
    this.bytes = bytes;
    this.where = where;
    /** Position of the next bit. @type {number} */
    this.position = 0;
  }

  /**
   * @param {number} count 0 to 32
   * @returns {number} unsigned integer
   */
  bits(count) {
    if (this.position + count > this.bytes.length * 8)
      refuse(this.where, `the bits end after ${this.bytes.length} bytes`);
    let value = 0;
    while (count > 0) {
      const used = this.position & 7;
      const here = Math.min(8 - used, count);
      const chunk = (this.bytes[this.position >>> 3] >>> (8 - used - here)) & ((1 << here) - 1);
      // A multiplication, as a shift would make numbers of 32 bits negative.
      value = value * 2 ** here + chunk;
      this.position += here;
      count -= here;
    }
    return value;
  }

  /**
   * Skips the padding up to the next whole byte, whose bits must be 0.
   *
   * @returns {number} bytes that have been read, the padding included
   */
  align() {
    if (this.bits((8 - (this.position & 7)) & 7)) refuse(this.where, 'a padding bit is 1, expected 0');
    return this.position / 8;
  }
}
