import { CHUNK, FRAMING_BYTES, MAGIC, checkMagic, chunkName, readChunk, refuseUnknownCritical } from './chunks.js';
import { hex, refuse } from './errors.js';
import { GopTable, readTiming } from './gops.js';
import { VERSION_MINOR, parseFileHeader } from './header.js';
import { MAX_CHUNKS, MAX_CHUNK_PAYLOAD, MAX_FRAMES, MAX_GAUSSIANS } from './limits.js';
import { ByteReader } from './reader.js';
import { readRange } from './source.js';

/** @typedef {import('./source.js').ByteSource} ByteSource */
/** @typedef {import('./header.js').FileHeader} FileHeader */

/** Bytes of the shortest GOP_HEADER and STREAM_LENGTHS together. */
const LEAST_GOP_PAYLOAD = 33;
/** @type {Set<number>} */
const KEPT = new Set([CHUNK.TRACK, CHUNK.TRACK_PACKETS, CHUNK.METADATA]);

/**
 * An ancillary chunk that this decoder knows, as the index lists it.
 *
 * @typedef {object} AncillaryEntry
 * @property {number} type
 * @property {number} offset
 * @property {number} payloadBytes
 */

/**
 * The index of a file (section 3.4), wholly checked.
 *
 * @typedef {object} Index
 * @property {GopTable} gops
 * @property {AncillaryEntry[]} ancillary TRACK, TRACK_PACKETS and METADATA chunks in file order
 * @property {number} nChunks chunks between FILE_HEADER and END
 */

/**
 * Reads and checks the magic and the FILE_HEADER chunk.
 *
 * @param {ByteSource} source
 * @returns {Promise<{ header: FileHeader, end: number }>} end: place behind the FILE_HEADER chunk
 */
export async function readFileHeader(source) {
  checkMagic(await readRange(source, 0, Math.min(MAGIC.length, source.size), 'magic'));
  const chunk = await readChunk(source, MAGIC.length);
  if (chunk.type !== CHUNK.FILE_HEADER) {
    refuse(`first chunk at byte ${chunk.offset}`, `found a ${chunkName(chunk.type)}, expected FILE_HEADER`);
  }
  return { header: parseFileHeader(chunk.payload, chunk.offset + 14), end: chunk.end };
}

/**
 * Finds the END chunk from the last bytes of the file and reads the index in it.
 *
 * @param {ByteSource} source
 * @param {FileHeader} header
 * @param {number} firstChunk place behind the FILE_HEADER chunk
 * @returns {Promise<Index>}
 */
export async function readIndex(source, header, firstChunk) {
  const { size } = source;
  const where = `end_chunk_bytes at byte ${size - 8}`;
  if (size - firstChunk < FRAMING_BYTES) {
    refuse(
      `END chunk at byte ${firstChunk}`,
      `${size - firstChunk} bytes are left, expected at least ${FRAMING_BYTES}`,
    );
  }
  const tail = await readRange(source, size - 8, 8, 'end of the file');
  const endChunkBytes = new DataView(tail.buffer, tail.byteOffset, 8).getUint32(0, true);
  if (endChunkBytes > size - firstChunk || endChunkBytes < FRAMING_BYTES) {
    refuse(
      where,
      `found ${endChunkBytes}, expected ${FRAMING_BYTES} to ${size - firstChunk}: no END chunk ends the file`,
    );
  }
  const chunk = await readChunk(source, size - endChunkBytes);
  if (chunk.type !== CHUNK.END) {
    refuse(`last chunk at byte ${chunk.offset}`, `found a ${chunkName(chunk.type)}, expected END`);
  }
  if (chunk.end !== size) refuse(`END chunk at byte ${chunk.offset}`, `ends at ${chunk.end}, the file ends at ${size}`);
  return parseIndex(chunk.payload, header, firstChunk, chunk.offset);
}

/**
 * @param {Uint8Array} payload of the END chunk; the result keeps it
 * @param {FileHeader} header
 * @param {number} firstChunk place behind the FILE_HEADER chunk
 * @param {number} endChunk place of the END chunk
 * @returns {Index}
 */
export function parseIndex(payload, header, firstChunk, endChunk) {
  const reader = new ByteReader(payload, 'INDEX', endChunk + 14);
  const nFrames = reader.uint('n_frames', 1, MAX_FRAMES);
  const nChunks = reader.uint('n_chunks', 1, MAX_CHUNKS);
  // Every entry has 3 bytes at least, and every GoP 5 more and a chunk of 37 bytes and its framing.
  reader.count('INDEX_ENTRY', nChunks, 3);
  const gops = new GopTable(
    Math.min(nChunks, Math.floor(reader.remaining / 8), Math.floor((endChunk - firstChunk) / 55)),
  );
  gops.deltaBytes = payload;
  /** @type {AncillaryEntry[]} */
  const ancillary = [];
  let offset = firstChunk;
  for (let i = 0; i < nChunks; i++) {
    reader.name = `INDEX_ENTRY[${i}]`;
    const at = reader.where('chunk_type');
    const type = reader.u16('chunk_type');
    const payloadBytes = reader.uint('payload_bytes', 0, MAX_CHUNK_PAYLOAD);
    if (type === CHUNK.FILE_HEADER || type === CHUNK.END) refuse(at, `found a second ${chunkName(type)} chunk`);
    refuseUnknownCritical(type, at);
    // Before anything is kept, so that no more is kept than the file has room for.
    if (payloadBytes + FRAMING_BYTES > endChunk - offset) {
      refuse(
        at,
        `the chunk would end at byte ${offset + payloadBytes + FRAMING_BYTES}, behind the END chunk's ${endChunk}`,
      );
    }
    if (type === CHUNK.GOP) readGop(reader, gops, offset, payloadBytes, i);
    else if (KEPT.has(type)) ancillary.push({ type, offset, payloadBytes });
    offset += payloadBytes + FRAMING_BYTES;
  }
  reader.name = 'INDEX';
  if (offset !== endChunk)
    refuse(reader.where('entries'), `the chunks end at byte ${offset}, the END chunk is at ${endChunk}`);
  if (gops.nFrames !== nFrames) refuse(reader.where('n_frames', 0), `found ${nFrames}, the GoPs have ${gops.nFrames}`);
  // A later minor version may append elements in front of INDEX_TAIL.
  if (header.versionMinor > VERSION_MINOR) reader.take('extension', Math.max(0, reader.remaining - 4));
  const tailAt = reader.where('end_chunk_bytes');
  const endChunkBytes = reader.u32('end_chunk_bytes');
  reader.end();
  const actual = payload.length + FRAMING_BYTES;
  if (endChunkBytes !== actual) refuse(tailAt, `found ${hex(endChunkBytes)}, the END chunk has ${hex(actual)} bytes`);
  return { gops, ancillary, nChunks };
}

/**
 * @param {ByteReader} reader at INDEX_GOP
 * @param {GopTable} gops
 * @param {number} offset place of the GOP chunk
 * @param {number} payloadBytes
 * @param {number} i number of the entry, for errors
 */
function readGop(reader, gops, offset, payloadBytes, i) {
  reader.name = `INDEX_GOP[${i}]`;
  const at = reader.where('n_gaussians');
  const nGaussians = reader.uint('n_gaussians', 1, MAX_GAUSSIANS);
  const start = reader.position;
  const timing = readTiming(reader);
  const least = reader.position - start + LEAST_GOP_PAYLOAD;
  if (payloadBytes < least) refuse(at, `found a GOP chunk of ${payloadBytes} bytes, expected at least ${least}`);
  const deltaStart = reader.position - timing.deltas.length;
  gops.push(timing, { offset, payloadBytes, nGaussians }, deltaStart, at);
}
