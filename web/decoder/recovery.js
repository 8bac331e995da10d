import { DEFAULT_BUDGET } from './budget.js';
import {
  CHUNK,
  CHUNK_HEADER_BYTES,
  FRAMING_BYTES,
  MAGIC,
  SYNC,
  checkPayload,
  chunkName,
  parseChunkHeader,
  refuseUnknownCritical,
} from './chunks.js';
import { StgvError, refuse } from './errors.js';
import { GopTable, readTiming } from './gops.js';
import { parseFileHeader } from './header.js';
import { Video } from './index.js';
import { readGopHeader } from './payload.js';
import { ByteReader } from './reader.js';
import { readRange } from './source.js';

/** @typedef {import('./source.js').ByteSource} ByteSource */
/** @typedef {import('./gops.js').GopTiming} GopTiming */

/** Bytes that are searched at once. */
const WINDOW = 2 ** 20;
/** All chunks whose payload CRC is computed may have this many times the bytes of the file together. */
const WORK = 8;

/**
 * What a recovery found amiss.
 *
 * @typedef {object} Report
 * @property {{ start: number, end: number }[]} lost bytes that no intact chunk has, from start to before end
 * @property {string[]} passedOver a line for each chunk that is not used although it is intact
 * @property {boolean} searchEnded whether the search was ended early, as its work is bounded
 */

/**
 * Opens a damaged file (section 9): uses whatever GoPs are intact. To be called only when the user asks for it.
 *
 * @param {ByteSource} source
 * @param {Partial<import('./budget.js').Budget>} [budget]
 * @returns {Promise<{ video: Video, report: Report }>} frames that are missing show the nearest one that is there
 */
export async function recoverVideo(source, budget = {}) {
  /** @type {Report} */
  const report = { lost: [], passedOver: [], searchEnded: false };
  /** @type {import('./header.js').FileHeader | null} */
  let header = null;
  /** @type {{ timing: GopTiming, place: { offset: number, payloadBytes: number, nGaussians: number } }[]} */
  const kept = [];
  /** @type {import('./container.js').AncillaryEntry[]} */
  const ancillary = [];
  const magic = await readRange(source, 0, Math.min(MAGIC.length, source.size), 'magic');
  let covered = MAGIC.every((byte, i) => magic[i] === byte) ? MAGIC.length : 0;
  for await (const { type, offset, payload } of intactChunks(source, report)) {
    if (offset > covered) report.lost.push({ start: covered, end: offset });
    covered = offset + payload.length + FRAMING_BYTES;
    const where = `${chunkName(type)} at byte ${offset}`;
    refuseUnknownCritical(type, where);
    if (!header) {
      if (type === CHUNK.FILE_HEADER) header = parseFileHeader(payload, offset + CHUNK_HEADER_BYTES);
    } else if (type === CHUNK.FILE_HEADER) {
      report.passedOver.push(`${where}: a second one`);
    } else if (type === CHUNK.GOP) {
      try {
        kept.push(readGop(payload, offset, kept.at(-1)?.timing));
      } catch (error) {
        if (!(error instanceof StgvError)) throw error;
        report.passedOver.push(`${where}: ${error.message}`);
      }
    } else if (type === CHUNK.TRACK || type === CHUNK.TRACK_PACKETS || type === CHUNK.METADATA) {
      ancillary.push({ type, offset, payloadBytes: payload.length });
    }
  }
  if (source.size > covered) report.lost.push({ start: covered, end: source.size });
  if (!header) return refuse('recovery', 'found no intact FILE_HEADER chunk');
  if (!kept.length) return refuse('recovery', 'found no intact GOP chunk behind the FILE_HEADER chunk');
  const gops = tableOf(kept);
  const index = { gops, ancillary, nChunks: kept.length + ancillary.length };
  return { video: new Video(source, header, index, { ...DEFAULT_BUDGET, ...budget }), report };
}

/**
 * @param {{ timing: GopTiming, place: { offset: number, payloadBytes: number, nGaussians: number } }[]} kept
 * @returns {GopTable}
 */
function tableOf(kept) {
  const gops = new GopTable(kept.length, true);
  gops.deltaBytes = new Uint8Array(kept.reduce((sum, { timing }) => sum + timing.deltas.length, 0));
  let at = 0;
  for (const { timing, place } of kept) {
    gops.deltaBytes.set(timing.deltas, at);
    gops.push(timing, place, at, `GOP at byte ${place.offset}`);
    at += timing.deltas.length;
  }
  return gops;
}

/**
 * @param {Uint8Array} payload of a GOP chunk
 * @param {number} offset of the chunk
 * @param {GopTiming | undefined} before that of the last GoP which was kept
 */
function readGop(payload, offset, before) {
  const reader = new ByteReader(payload, 'GOP_CHUNK', offset + CHUNK_HEADER_BYTES);
  const where = reader.where('first_frame');
  const timing = readTiming(reader);
  const { nFrames, nGaussians } = readGopHeader(reader);
  if (nFrames !== timing.nFrames) refuse(where, `found n_frames ${timing.nFrames}, GOP_HEADER says ${nFrames}`);
  if (before && timing.firstFrame < before.firstFrame + before.nFrames) {
    refuse(
      where,
      `found first_frame ${timing.firstFrame}, the GoPs before have ${before.firstFrame + before.nFrames} frames`,
    );
  }
  if (before && timing.ptsFirst <= before.ptsLast) {
    refuse(where, `found pts_first ${timing.ptsFirst}, expected more than ${before.ptsLast}`);
  }
  // The payload is not kept for the few bytes of the differences.
  timing.deltas = timing.deltas.slice();
  return { timing, place: { offset, payloadBytes: payload.length, nGaussians } };
}

/**
 * @param {ByteSource} source
 * @param {number} from
 * @returns {Promise<number>} place of the first sync marker from there on; the size of the file if there is none
 */
async function findSync(source, from) {
  for (let at = from; at + SYNC.length <= source.size; at += WINDOW) {
    // Windows overlap by three bytes, so that a marker across their border is found.
    const bytes = await readRange(source, at, Math.min(WINDOW + 3, source.size - at), 'search');
    for (let i = bytes.indexOf(SYNC[0]); i >= 0; i = bytes.indexOf(SYNC[0], i + 1)) {
      if (i < WINDOW && SYNC.every((byte, j) => bytes[i + j] === byte)) return at + i;
    }
  }
  return source.size;
}

/**
 * @param {ByteSource} source
 * @param {Report} report
 * @returns {AsyncGenerator<{ type: number, offset: number, payload: Uint8Array }, void, void>}
 */
async function* intactChunks(source, report) {
  let work = 0;
  let at = await findSync(source, 0);
  while (at + CHUNK_HEADER_BYTES <= source.size) {
    const offset = at;
    const head = attempt(
      (bytes) => parseChunkHeader(bytes, offset),
      await readRange(source, at, CHUNK_HEADER_BYTES, 'search'),
    );
    if (!head) {
      at = await findSync(source, at + SYNC.length);
      continue;
    }
    const start = offset + CHUNK_HEADER_BYTES;
    const end = start + head.length + 4;
    let payload = null;
    if (end <= source.size) {
      work += end - offset;
      if (work > WORK * source.size) {
        report.searchEnded = true;
        return;
      }
      payload = attempt(
        (bytes) => checkPayload(bytes, 'payload'),
        await readRange(source, start, head.length + 4, 'search'),
      );
    }
    if (payload) yield { type: head.type, offset, payload };
    at = await findSync(source, payload ? end : start);
  }
}

/**
 * @template R
 * @param {(bytes: Uint8Array) => R} parse
 * @param {Uint8Array} bytes
 * @returns {R | null} null where the bytes are refused
 */
function attempt(parse, bytes) {
  try {
    return parse(bytes);
  } catch (error) {
    if (error instanceof StgvError) return null;
    throw error;
  }
}
