/**
 * What an AudioDecoder has to know, from the set-up of a track (section 3.5): the beginning of a Matroska file (RFC 9559),
 * up to its Tracks.
 */

const ID = Object.freeze({
  SEGMENT: 0x18538067,
  TRACKS: 0x1654ae6b,
  TRACK_ENTRY: 0xae,
  CODEC_ID: 0x86,
  CODEC_PRIVATE: 0x63a2,
  AUDIO: 0xe1,
  SAMPLING_FREQUENCY: 0xb5,
  CHANNELS: 0x9f,
  BIT_DEPTH: 0x6264,
});

/**
 * @param {Uint8Array} bytes
 * @param {number} at
 * @param {boolean} keepMarker whether the bit that marks the length counts, as it does in an ID
 * @returns {{ value: number, end: number } | null} an EBML number; value is Infinity for an unknown size
 */
function readNumber(bytes, at, keepMarker) {
  const first = bytes[at];
  const length = Math.clz32(first) - 23;
  if (!first || at + length > bytes.length) return null;
  let value = keepMarker ? first : first & (0xff >> length);
  let isUnknown = !keepMarker && value === 0xff >> length;
  for (let i = 1; i < length; i++) {
    value = value * 256 + bytes[at + i];
    isUnknown &&= bytes[at + i] === 0xff;
  }
  return { value: isUnknown ? Infinity : value, end: at + length };
}

/**
 * @param {Uint8Array} bytes
 * @returns {Generator<{ id: number, body: Uint8Array }>} the elements; the last one may be cut off
 */
function* elements(bytes) {
  for (let at = 0; at < bytes.length;) {
    const id = readNumber(bytes, at, true);
    const size = id && readNumber(bytes, id.end, false);
    if (!id || !size) return;
    at = Math.min(bytes.length, size.end + size.value);
    yield { id: id.value, body: bytes.subarray(size.end, at) };
  }
}

/**
 * @param {Uint8Array} bytes
 * @param {...number} path IDs, from the outside in
 * @returns {Uint8Array | null} body of the first element at that path
 */
function find(bytes, ...path) {
  for (const { id, body } of elements(bytes)) {
    if (id === path[0]) return path.length > 1 ? find(body, ...path.slice(1)) : body;
  }
  return null;
}

/** @param {Uint8Array | null} body @returns {number} */
const unsigned = (body) => (body ?? new Uint8Array(0)).reduce((value, byte) => value * 256 + byte, 0);

/** @param {Uint8Array | null} body @returns {number} */
function float(body) {
  if (!body) return 0;
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  return body.length === 4 ? view.getFloat32(0) : body.length === 8 ? view.getFloat64(0) : 0;
}

/** Codecs whose packets and private data WebCodecs takes as Matroska has them. @type {Record<string, string>} */
const CODECS = {
  A_OPUS: 'opus',
  A_VORBIS: 'vorbis',
  A_FLAC: 'flac',
  'A_MPEG/L3': 'mp3',
  A_AC3: 'ac-3',
  A_EAC3: 'ec-3',
};

/**
 * @param {Uint8Array} setup
 * @returns {AudioDecoderConfig | null} null where the set-up is not one of sound in a codec that WebCodecs has a name for
 */
export function audioConfig(setup) {
  const entry = find(setup, ID.SEGMENT, ID.TRACKS, ID.TRACK_ENTRY);
  const audio = entry && find(entry, ID.AUDIO);
  if (!entry || !audio) return null;
  const codecId = new TextDecoder().decode(find(entry, ID.CODEC_ID) ?? new Uint8Array(0));
  const description = find(entry, ID.CODEC_PRIVATE) ?? undefined;
  const codec = codecName(codecId, description, unsigned(find(audio, ID.BIT_DEPTH)));
  // The values that Matroska gives to elements that are not there.
  const sampleRate = Math.round(float(find(audio, ID.SAMPLING_FREQUENCY)) || 8000);
  const numberOfChannels = unsigned(find(audio, ID.CHANNELS)) || 1;
  return codec ? { codec, sampleRate, numberOfChannels, ...(description && { description }) } : null;
}

/**
 * @param {string} codecId
 * @param {Uint8Array | undefined} description
 * @param {number} bitDepth
 * @returns {string | null}
 */
function codecName(codecId, description, bitDepth) {
  if (codecId === 'A_AAC' && description) {
    // The audio object type is the first five bits of AudioSpecificConfig, or follows them.
    const type = description[0] >> 3;
    return `mp4a.40.${type === 31 ? 32 + ((description[0] & 7) << 3) + (description[1] >> 5) : type}`;
  }
  if (codecId === 'A_PCM/INT/LIT') return bitDepth === 8 ? 'pcm-u8' : `pcm-s${bitDepth}`;
  if (codecId === 'A_PCM/FLOAT/IEEE') return `pcm-f${bitDepth}`;
  return CODECS[codecId] ?? null;
}
