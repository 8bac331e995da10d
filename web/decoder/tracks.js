import { CHUNK, readListedChunk } from './chunks.js';
import { refuse } from './errors.js';
import { readFraction } from './header.js';
import { MAX_CHUNK_PAYLOAD, MAX_PTS, MAX_TRACKS, MAX_TRACK_SETUP } from './limits.js';
import { ByteReader } from './reader.js';

/** @typedef {import('./source.js').ByteSource} ByteSource */
/** @typedef {import('./container.js').AncillaryEntry} AncillaryEntry */

/** Names of the bits of `dispositions`, from bit 0 on. */
const DISPOSITIONS = [
  'default',
  'dub',
  'original',
  'comment',
  'lyrics',
  'karaoke',
  'forced',
  'hearing impaired',
  'visually impaired',
];

/** An entry of metadata. Of entries with one key, each is a line of the value. @typedef {[key: string, value: string]} Entry */

/**
 * The table TRACK and the set-up (section 3.5).
 *
 * @typedef {object} Track
 * @property {number} track number of the track
 * @property {'audio' | 'subtitles'} kind
 * @property {string} codec name of the codec, for people
 * @property {import('./header.js').Fraction} timeBase seconds a unit of the track's timestamps
 * @property {number} sampleRate samples a second; 0: not known
 * @property {number} nChannels 0: not known
 * @property {string} channelLayout empty: not known
 * @property {string[]} dispositions
 * @property {Entry[]} metadata
 * @property {'matroska' | 'mp4'} setupFormat
 * @property {Uint8Array} setup the beginning of a file of that format, which is not looked into here
 */

/**
 * @typedef {object} Packet
 * @property {bigint} pts units of the track's time base
 * @property {number} duration likewise; 0: not known
 * @property {boolean} isKey whether a decoder can begin with the packet
 * @property {Uint8Array} data
 */

/**
 * @param {ByteReader} reader
 * @returns {Entry[]}
 */
function readEntries(reader) {
  const n = reader.uint('n_entries', 0, 1024);
  reader.count('keys', n, 2);
  const keys = Array.from({ length: n }, (_, i) => reader.text(`keys[${i}]`, 1, 64));
  return keys.map((key, i) => [key, reader.text(`values[${i}]`, 0, 65536)]);
}

/**
 * @param {Uint8Array} payload of a METADATA chunk
 * @param {number} base place of the payload in the file
 * @returns {Entry[]}
 */
export function parseMetadata(payload, base) {
  const reader = new ByteReader(payload, 'METADATA', base);
  const entries = readEntries(reader);
  reader.end();
  return entries;
}

/**
 * @param {Uint8Array} payload of a TRACK chunk
 * @param {number} base place of the payload in the file
 * @returns {Track}
 */
export function parseTrack(payload, base) {
  const reader = new ByteReader(payload, 'TRACK', base);
  const track = reader.uint('track', 0, MAX_TRACKS - 1);
  const kind = reader.u8('kind', 0, 1) ? 'subtitles' : 'audio';
  const codec = reader.text('codec', 1, 64);
  const timeBase = readFraction(reader, 'time_base', 2 ** 31 - 1);
  const sampleRate = reader.uint('sample_rate', 0, 2 ** 32 - 1);
  const nChannels = reader.uint('n_channels', 0, 65535);
  const channelLayout = reader.text('channel_layout', 0, 64);
  const bits = reader.u16('dispositions');
  const dispositions = DISPOSITIONS.filter((_, bit) => bits & (1 << bit));
  const metadata = readEntries(reader);
  const setupFormat = reader.u8('setup_format', 0, 1) ? 'mp4' : 'matroska';
  const size = reader.remaining;
  if (size < 1 || size > MAX_TRACK_SETUP) refuse(reader.where('set-up'), `found ${size} bytes, expected 1 to 2^20`);
  const setup = reader.take('set-up', size).slice();
  return {
    track,
    kind,
    codec,
    timeBase,
    sampleRate,
    nChannels,
    channelLayout,
    dispositions,
    metadata,
    setupFormat,
    setup,
  };
}

/**
 * @param {Uint8Array} payload of a TRACK_PACKETS chunk
 * @param {number} base place of the payload in the file
 * @returns {{ track: number, packets: Packet[] }}
 */
export function parseTrackPackets(payload, base) {
  const reader = new ByteReader(payload, 'TRACK_PACKETS', base);
  const track = reader.uint('track', 0, MAX_TRACKS - 1);
  const n = reader.uint('n_packets', 1, 65535);
  const firstAt = reader.where('pts_first');
  let pts = reader.sint('pts_first', -MAX_PTS, MAX_PTS);
  reader.count('packets', 4 * n - 1);
  const gaps = Array.from({ length: n - 1 }, (_, i) => reader.sint(`packet_gaps[${i}]`, -(1n << 40n), 1n << 40n));
  const durations = Array.from({ length: n }, (_, i) => reader.uint(`packet_durations[${i}]`, 0, 2 ** 40));
  const keys = Array.from({ length: n }, (_, i) => reader.u8(`packet_is_key[${i}]`, 0, 1) === 1);
  const sizes = Array.from({ length: n }, (_, i) => reader.uint(`packet_bytes[${i}]`, 0, MAX_CHUNK_PAYLOAD));
  const sum = sizes.reduce((a, b) => a + b, 0);
  if (sum !== reader.remaining)
    refuse(reader.where('packets'), `found ${reader.remaining} bytes, packet_bytes say ${sum}`);
  const packets = sizes.map((size, i) => {
    if (i) pts += BigInt(durations[i - 1]) + gaps[i - 1];
    const end = pts + BigInt(durations[i]);
    if (pts < -MAX_PTS || end > MAX_PTS) refuse(firstAt, `packet ${i} is played from ${pts} to ${end}, beyond 2^62`);
    return { pts, duration: durations[i], isKey: keys[i], data: reader.take(`packet ${i}`, size) };
  });
  return { track, packets };
}

/**
 * @param {ByteSource} source
 * @param {AncillaryEntry[]} ancillary of the index
 * @returns {Promise<Track[]>} in file order
 */
export async function readTracks(source, ancillary) {
  const entries = ancillary.filter(({ type }) => type === CHUNK.TRACK);
  if (entries.length > MAX_TRACKS)
    refuse('index', `found ${entries.length} TRACK chunks, expected at most ${MAX_TRACKS}`);
  /** @type {Track[]} */
  const tracks = [];
  for (const entry of entries) {
    const { payload } = await readListedChunk(source, entry);
    const track = parseTrack(payload, entry.offset + 14);
    if (tracks.some((other) => other.track === track.track)) {
      refuse(`TRACK at byte ${entry.offset}`, `found a second track ${track.track}`);
    }
    tracks.push(track);
  }
  return tracks;
}

/**
 * @param {ByteSource} source
 * @param {AncillaryEntry[]} ancillary of the index
 * @returns {Promise<Entry[]>} none where the file has no METADATA chunk
 */
export async function readMetadata(source, ancillary) {
  const entries = ancillary.filter(({ type }) => type === CHUNK.METADATA);
  if (entries.length > 1) refuse('index', `found ${entries.length} METADATA chunks, expected at most one`);
  if (!entries.length) return [];
  const { payload } = await readListedChunk(source, entries[0]);
  return parseMetadata(payload, entries[0].offset + 14);
}

/**
 * Reads the packets of one track, chunk after chunk.
 *
 * @param {ByteSource} source
 * @param {AncillaryEntry[]} ancillary of the index
 * @param {Track} track one of readTracks
 * @returns {AsyncGenerator<Packet, void, void>}
 */
export async function* readPackets(source, ancillary, track) {
  const described = new Set();
  /** @type {bigint | null} */
  let previous = null;
  for (const entry of ancillary) {
    if (entry.type === CHUNK.METADATA) continue;
    const { payload } = await readListedChunk(source, entry);
    if (entry.type === CHUNK.TRACK) {
      described.add(parseTrack(payload, entry.offset + 14).track);
      continue;
    }
    const chunk = parseTrackPackets(payload, entry.offset + 14);
    const where = `TRACK_PACKETS at byte ${entry.offset}`;
    if (!described.has(chunk.track))
      refuse(where, `found packets of track ${chunk.track}, which no TRACK chunk before describes`);
    if (chunk.track !== track.track) continue;
    for (const packet of chunk.packets) {
      if (previous !== null && (packet.pts < previous || (packet.pts === previous && track.kind === 'audio'))) {
        refuse(where, `found the timestamp ${packet.pts} of a packet behind ${previous}`);
      }
      previous = packet.pts;
      yield packet;
    }
  }
}
