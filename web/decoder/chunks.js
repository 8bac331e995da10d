import { crc32 } from './crc32.js';
import { hex, refuse } from './errors.js';
import { MAX_CHUNK_PAYLOAD } from './limits.js';
import { readRange } from './source.js';

/** @typedef {import('./source.js').ByteSource} ByteSource */

export const MAGIC = Uint8Array.of(0x89, 0x53, 0x54, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
export const SYNC = Uint8Array.of(0xf5, 0x53, 0x47, 0xc1);
export const CHUNK_HEADER_BYTES = 14;
/** Bytes of a chunk besides its payload. */
export const FRAMING_BYTES = 18;

/** Type codes of chunks (section 3.1). */
export const CHUNK = Object.freeze({
  FILE_HEADER: 0x8001,
  GOP: 0x8002,
  END: 0x8003,
  TRACK: 0x0010,
  TRACK_PACKETS: 0x0011,
  METADATA: 0x0020,
});

/**
 * @param {number} type
 * @returns {string} for errors
 */
export function chunkName(type) {
  const known = Object.entries(CHUNK).find(([, code]) => code === type);
  return known ? known[0] : `chunk of type ${hex(type, 4)}`;
}

/**
 * @param {number} type
 * @param {string} where
 */
export function refuseUnknownCritical(type, where) {
  if (type & 0x8000 && type !== CHUNK.FILE_HEADER && type !== CHUNK.GOP && type !== CHUNK.END) {
    refuse(where, `found the critical chunk type ${hex(type, 4)}, which version 2.0 does not know`);
  }
}

/**
 * @param {Uint8Array} bytes the beginning of a file
 */
export function checkMagic(bytes) {
  if (bytes.length < MAGIC.length || MAGIC.some((byte, i) => bytes[i] !== byte)) {
    const found = Array.from(bytes.subarray(0, MAGIC.length), (byte) => byte.toString(16).padStart(2, '0')).join(' ');
    refuse('magic at byte 0', `found ${found || 'no bytes'}, expected 89 53 54 47 0d 0a 1a 0a (not a .stgv file)`);
  }
}

/**
 * @param {Uint8Array} bytes the 14 bytes of a chunk header
 * @param {number} offset their place in the file
 * @returns {{ type: number, length: number }} length: bytes of the payload
 */
export function parseChunkHeader(bytes, offset) {
  const where = `chunk header at byte ${offset}`;
  const view = new DataView(bytes.buffer, bytes.byteOffset, CHUNK_HEADER_BYTES);
  if (SYNC.some((byte, i) => bytes[i] !== byte)) {
    refuse(where, `found the sync marker ${hex(view.getUint32(0), 8)}, expected 0xf55347c1`);
  }
  const stored = view.getUint32(10, true);
  const computed = crc32(bytes.subarray(0, 10));
  if (stored !== computed) refuse(where, `found the header CRC ${hex(stored, 8)}, expected ${hex(computed, 8)}`);
  const length = view.getUint32(6, true);
  if (length > MAX_CHUNK_PAYLOAD) refuse(where, `found a payload of ${length} bytes, expected at most 2^28`);
  return { type: view.getUint16(4, true), length };
}

/**
 * @param {Uint8Array} bytes a payload and the four bytes of its CRC
 * @param {string} where
 * @returns {Uint8Array} the payload
 */
export function checkPayload(bytes, where) {
  const payload = bytes.subarray(0, bytes.length - 4);
  const stored = new DataView(bytes.buffer, bytes.byteOffset + payload.length, 4).getUint32(0, true);
  const computed = crc32(payload);
  if (stored !== computed) refuse(where, `found the payload CRC ${hex(stored, 8)}, expected ${hex(computed, 8)}`);
  return payload;
}

/**
 * A chunk whose two CRCs hold.
 *
 * @typedef {object} Chunk
 * @property {number} type
 * @property {number} offset place of the chunk header in the file
 * @property {number} end place behind the chunk
 * @property {Uint8Array} payload
 */

/**
 * Reads a chunk of which nothing is known but its place. The length is compared with the file before the payload is read.
 *
 * @param {ByteSource} source
 * @param {number} offset
 * @returns {Promise<Chunk>}
 */
export async function readChunk(source, offset) {
  const head = await readRange(source, offset, CHUNK_HEADER_BYTES, 'chunk header');
  const { type, length } = parseChunkHeader(head, offset);
  const what = `payload of ${chunkName(type)}`;
  const start = offset + CHUNK_HEADER_BYTES;
  const payload = checkPayload(await readRange(source, start, length + 4, what), `${what} at byte ${start}`);
  return { type, offset, end: start + length + 4, payload };
}

/**
 * Reads a chunk that the index lists, in one range, and holds it to its entry.
 *
 * @param {ByteSource} source
 * @param {{ type: number, offset: number, payloadBytes: number }} entry
 * @param {AbortSignal} [signal] ends the reading
 * @returns {Promise<Chunk>}
 */
export async function readListedChunk(source, entry, signal) {
  const { offset, payloadBytes } = entry;
  const name = chunkName(entry.type);
  const bytes = await readRange(source, offset, payloadBytes + FRAMING_BYTES, name, signal);
  const { type, length } = parseChunkHeader(bytes.subarray(0, CHUNK_HEADER_BYTES), offset);
  const where = `${name} at byte ${offset}`;
  if (type !== entry.type) refuse(where, `found a ${chunkName(type)}, the index says ${name}`);
  if (length !== payloadBytes) refuse(where, `found a payload of ${length} bytes, the index says ${payloadBytes}`);
  const payload = checkPayload(bytes.subarray(CHUNK_HEADER_BYTES), `payload of ${where}`);
  return { type, offset, end: offset + bytes.length, payload };
}
