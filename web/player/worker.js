/**
 * The worker that reads and decodes: parsing and dequantising a GoP takes longer than a frame lasts, and must not hold
 * up the page. client.js is the other end; it has the messages.
 */
import {
  BudgetError,
  SourceError,
  StgvError,
  blobSource,
  httpSource,
  openVideo,
  transferables,
} from '../decoder/index.js';
import { CHUNK, readListedChunk } from '../decoder/chunks.js';
import { timestamps } from '../decoder/gops.js';
import { recoverVideo } from '../decoder/recovery.js';
import { lastWhere } from '../decoder/search.js';
import { parseTrackPackets } from '../decoder/tracks.js';

/** @typedef {import('../decoder/index.js').Video} Video */
/** @typedef {import('./client.js').Description} Description */
/** @typedef {import('./client.js').Failure} Failure */
/** @typedef {import('./client.js').PacketsAnswer} PacketsAnswer */

/** Bytes of the request for the end of a file, which has the index: that of half an hour, mostly. */
const TAIL = 2 ** 14;
/** Four GoPs may be in memory at once, and what renders them beside. */
const BUDGET = { memory: 2 ** 29 };
/** GoPs that are read at the same time: one that is decoded next, one behind it. */
const READS = 2;

/** @type {Video | null} */
let video = null;
/** @type {import('../decoder/tracks.js').Track[]} */
let tracks = [];
/** The numbers of the GoPs that the player waits for, the most urgent first. @type {number[]} */
let wanted = [];
/** @typedef {{ payload: Promise<Uint8Array>, abort: AbortController }} Read */
/** @type {Map<number, Read>} */
const reads = new Map();
let busy = false;

/**
 * @param {unknown} error
 * @returns {Failure}
 */
function failure(error) {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof BudgetError) return { kind: 'budget', message };
  if (error instanceof StgvError) return { kind: 'damaged', message };
  // What fetch throws where there is no answer, and what reading a file throws that was removed meanwhile.
  if (error instanceof SourceError || error instanceof TypeError || error instanceof DOMException)
    return { kind: 'source', message };
  return { kind: 'bug', message };
}

/**
 * @param {object} message
 * @param {Transferable[]} [transfer]
 */
const post = (message, transfer = []) => self.postMessage(message, { transfer });

/**
 * @param {bigint} pts
 * @returns {number} seconds from the first frame on
 */
function secondsOf(pts) {
  const { header, index } = /** @type {Video} */ (video);
  return (Number(pts - index.gops.ptsFirsts[0]) * header.timeBase.num) / header.timeBase.den;
}

/**
 * @param {string | Blob} from address or file
 * @param {boolean} recover whether to use what is intact of a damaged file
 */
async function open(from, recover) {
  try {
    const source = typeof from === 'string' ? await httpSource(from, { tail: TAIL }) : blobSource(from);
    const { video: opened, report } = recover
      ? await recoverVideo(source, BUDGET)
      : { video: await openVideo(source, BUDGET), report: null };
    video = opened;
    const { header, index } = video;
    const { length, ptsFirsts, firstFrames, frameCounts, payloadBytes, nGaussians } = index.gops;
    /** @type {Description} */
    const description = {
      width: header.width,
      height: header.height,
      // A pixel as long as a thousand are wide is no picture's; what would be left of it is a line.
      pixelAspect: Math.min(8, Math.max(1 / 8, header.sampleAspect.num / header.sampleAspect.den)),
      frameRate: header.frameRate.num / header.frameRate.den,
      tool: header.tool,
      profile: header.profile,
      bytes: source.size,
      nFrames: index.gops.nFrames,
      gopStarts: Float64Array.from({ length }, (_, gop) => secondsOf(ptsFirsts[gop])),
      firstFrames: firstFrames.slice(0, length),
      frameCounts: frameCounts.slice(0, length),
      gopBytes: payloadBytes.slice(0, length),
      nGaussians: nGaussians.slice(0, length),
      duration: secondsOf(index.gops.ptsLast) + video.lastFrameSeconds,
      damage: report && {
        lostBytes: report.lost.reduce((sum, { start, end }) => sum + end - start, 0),
        passedOver: report.passedOver,
        searchEnded: report.searchEnded,
      },
    };
    post({ type: 'opened', description });
  } catch (error) {
    post({ type: 'failed', what: 'open', failure: failure(error) });
    return;
  }
  // The first picture does not wait for them.
  post({ type: 'tracks', described: await describeTracks(video) });
}

/**
 * Pictures are played where tracks or metadata are not valid: nothing of the pictures hangs on them.
 *
 * @param {Video} opened
 * @returns {Promise<import('./client.js').TracksDescription>}
 */
async function describeTracks(opened) {
  try {
    tracks = await opened.tracks();
    const entries = await opened.metadata();
    return { tracks, title: entries.find(([key]) => key === 'title')?.[1] ?? '', failure: null };
  } catch (error) {
    return { tracks: [], title: '', failure: failure(error) };
  }
}

/** Reads and decodes what is wanted, one after another, until nothing is. */
async function work() {
  if (busy || !video) return;
  busy = true;
  while (wanted.length) {
    for (const gop of wanted.slice(0, READS)) if (!reads.has(gop)) startReading(gop);
    const gop = wanted[0];
    const read = /** @type {Read} */ (reads.get(gop));
    // Another place may be chosen while it is read, which ends the reading.
    const isWanted = () => reads.get(gop) === read;
    try {
      const payload = await read.payload;
      if (!isWanted()) continue;
      const decoded = await video.readGop(gop, payload);
      const times = Float64Array.from(timestamps(video.gop(gop)), secondsOf);
      post({ type: 'gop', number: gop, gop: decoded, times }, transferables(decoded));
    } catch (error) {
      if (!isWanted()) continue;
      post({ type: 'failed', what: 'gop', number: gop, failure: failure(error) });
    }
    reads.delete(gop);
    wanted = wanted.filter((other) => other !== gop);
  }
  busy = false;
}

/** @param {number} gop */
function startReading(gop) {
  const abort = new AbortController();
  const payload = /** @type {Video} */ (video).readPayload(gop, abort.signal);
  // It is handled where it is awaited, which may be later.
  payload.catch(() => {});
  reads.set(gop, { payload, abort });
}

/**
 * @param {number[]} gops
 */
function want(gops) {
  wanted = gops;
  for (const [gop, { abort }] of reads) {
    if (!gops.includes(gop)) {
      abort.abort();
      reads.delete(gop);
    }
  }
  work();
}

/**
 * Reads the packets of the next chunk of a track. The index does not say to which track and time a chunk belongs: the
 * search for a time begins where writers put its packets, behind the GoP that is shown then, and goes back from there
 * (section 3.5).
 *
 * @param {number} track
 * @param {number} seconds time from which on packets are needed
 * @param {number | null} place of the next chunk in the list of ancillary chunks; null to search for the time
 * @returns {Promise<Omit<PacketsAnswer, 'failure'>>}
 */
async function packets(track, seconds, place) {
  const opened = /** @type {Video} */ (video);
  const { ancillary, gops } = opened.index;
  const timeBase = tracks.find((other) => other.track === track)?.timeBase ?? { num: 1, den: 1 };
  const firstFrame = (Number(gops.ptsFirsts[0]) * opened.header.timeBase.num) / opened.header.timeBase.den;
  const toSeconds = (/** @type {number | bigint} */ units) => (Number(units) * timeBase.num) / timeBase.den;
  const readAt = async (/** @type {number} */ at) => {
    const entry = ancillary[at];
    if (entry.type !== CHUNK.TRACK_PACKETS) return null;
    const { payload } = await readListedChunk(opened.source, entry);
    const chunk = parseTrackPackets(payload, entry.offset + 14);
    return chunk.track === track ? chunk.packets : null;
  };
  let at = place ?? 0;
  if (place === null) {
    const shown = gops.get(lastWhere(gops.length, (gop) => secondsOf(gops.ptsFirsts[gop]) <= seconds));
    at = ancillary.findIndex(({ offset }) => offset > shown.offset);
    if (at < 0) at = ancillary.length;
    for (let back = at - 1; back >= 0; back--) {
      const found = await readAt(back);
      if (!found) continue;
      at = back;
      if (toSeconds(found[0].pts) - firstFrame <= seconds) break;
    }
  }
  for (; at < ancillary.length; at++) {
    const found = await readAt(at);
    if (found) {
      return {
        place: at + 1,
        packets: found.map(({ pts, duration, isKey, data }) => ({
          seconds: toSeconds(pts) - firstFrame,
          duration: toSeconds(duration),
          isKey,
          data,
        })),
      };
    }
  }
  return { place: null, packets: [] };
}

self.addEventListener('message', async ({ data }) => {
  if (data.type === 'open') open(data.source, data.recover);
  else if (data.type === 'want') want(data.gops);
  else {
    const { id, track, seconds, place } = data;
    try {
      post({ type: 'packets', id, failure: null, ...(await packets(track, seconds, place)) });
    } catch (error) {
      post({ type: 'packets', id, failure: failure(error), place: null, packets: [] });
    }
  }
});
