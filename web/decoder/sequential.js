import { CHUNK, FRAMING_BYTES, chunkName, readChunk, refuseUnknownCritical } from './chunks.js';
import { parseIndex, readFileHeader } from './container.js';
import { refuse } from './errors.js';
import { checkOrder, checkSameTiming, readTiming } from './gops.js';
import { readGopHeader } from './payload.js';
import { ByteReader } from './reader.js';

/** @typedef {import('./source.js').ByteSource} ByteSource */

/**
 * Reads a whole file from front to back, without its index, and at the END chunk holds the index to what was read. A file
 * that arrives in order, as a stream does, can be decoded like this.
 *
 * @param {ByteSource} source
 * @returns {AsyncGenerator<import('./chunks.js').Chunk, import('./container.js').Index, void>} yields the chunks between
 *   FILE_HEADER and END, each once its CRCs hold and, of a GOP chunk, once its place in time does; returns the index
 */
export async function* readSequentially(source) {
  const { header, end: firstChunk } = await readFileHeader(source);
  let offset = firstChunk;
  let nFrames = 0;
  let nChunks = 0;
  /** @type {bigint | null} */
  let pts = null;
  /** What the index must say of each chunk: type, payload bytes and, of a GOP chunk, its first bytes and N. */
  const seen = [];
  for (;;) {
    if (offset === source.size) refuse(`chunk at byte ${offset}`, 'the file ends, expected an END chunk');
    const chunk = await readChunk(source, offset);
    const where = `${chunkName(chunk.type)} at byte ${offset}`;
    if (chunk.type === CHUNK.END) {
      if (chunk.end !== source.size) refuse(where, `${source.size - chunk.end} bytes follow the END chunk`);
      const index = parseIndex(chunk.payload, header, firstChunk, offset);
      if (index.nChunks !== nChunks) refuse(where, `the index lists ${index.nChunks} chunks, the file has ${nChunks}`);
      checkIndex(index, seen, where);
      return index;
    }
    if (chunk.type === CHUNK.FILE_HEADER) refuse(where, 'found a second FILE_HEADER chunk');
    refuseUnknownCritical(chunk.type, where);
    nChunks++;
    if (chunk.type === CHUNK.GOP) {
      const reader = new ByteReader(chunk.payload, 'GOP_CHUNK', offset + 14);
      const timing = readTiming(reader);
      checkOrder(timing, nFrames, pts, where);
      nFrames += timing.nFrames;
      pts = timing.ptsLast;
      // The differences are copied, so that the payload need not be kept for them.
      timing.deltas = timing.deltas.slice();
      const gop = readGopHeader(reader);
      if (gop.nFrames !== timing.nFrames)
        refuse(where, `GOP_HEADER has ${gop.nFrames} frames, GOP_CHUNK ${timing.nFrames}`);
      seen.push({ type: chunk.type, offset, timing, nGaussians: gop.nGaussians });
    } else if (chunk.type === CHUNK.TRACK || chunk.type === CHUNK.TRACK_PACKETS || chunk.type === CHUNK.METADATA) {
      seen.push({ type: chunk.type, offset, timing: null, nGaussians: 0 });
    }
    yield chunk;
    offset += chunk.payload.length + FRAMING_BYTES;
  }
}

/**
 * Offsets are running sums of the payload sizes that the index has, so equal offsets of all chunks mean equal sizes.
 *
 * @param {import('./container.js').Index} index
 * @param {{ type: number, offset: number, timing: import('./gops.js').GopTiming | null, nGaussians: number }[]} seen
 * @param {string} where for errors
 */
function checkIndex({ gops, ancillary }, seen, where) {
  let g = 0;
  let a = 0;
  for (const { type, offset, timing, nGaussians } of seen) {
    const entry = timing ? (g < gops.length ? gops.get(g++) : null) : ancillary[a++];
    if (!entry || entry.offset !== offset)
      refuse(where, `the index does not list the ${chunkName(type)} at byte ${offset}`);
    if (timing && 'nGaussians' in entry) {
      checkSameTiming(timing, entry, `GOP at byte ${offset}`);
      if (entry.nGaussians !== nGaussians)
        refuse(where, `the index says N = ${entry.nGaussians}, the GOP at ${offset} ${nGaussians}`);
    } else if ('type' in entry && entry.type !== type) {
      refuse(where, `the index lists a ${chunkName(entry.type)} at byte ${offset}, found a ${chunkName(type)}`);
    }
  }
  if (g !== gops.length || a !== ancillary.length) refuse(where, 'the index lists chunks that the file does not have');
}
