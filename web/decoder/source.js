import { SourceError, StgvError } from './errors.js';

/**
 * Where the bytes of a file come from. `read` is only asked for ranges inside the file.
 *
 * @typedef {object} ByteSource
 * @property {number} size bytes of the file
 * @property {(offset: number, length: number, signal?: AbortSignal) => Promise<Uint8Array>} read resolves to exactly
 *   `length` bytes
 */

/**
 * @param {ArrayBuffer | Uint8Array} data a whole file
 * @returns {ByteSource}
 */
export function memorySource(data) {
  const bytes = data instanceof Uint8Array ? data : new Uint8Array(data);
  return {
    size: bytes.length,
    read: async (offset, length) => bytes.subarray(offset, offset + length),
  };
}

/**
 * @param {Blob} blob a File of an input element, for example
 * @returns {ByteSource}
 */
export function blobSource(blob) {
  return {
    size: blob.size,
    read: async (offset, length) => new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer()),
  };
}

/**
 * A file on a server, read by HTTP range requests. A server that does not know ranges sends the whole file at once, which
 * is then kept.
 *
 * @param {string | URL} url
 * @param {{ signal?: AbortSignal, head?: number, tail?: number }} [options] head: bytes of the first request; tail: bytes
 *   of the request for what lies at the end, such as the index; both are kept
 * @returns {Promise<ByteSource>}
 */
export async function httpSource(url, options = {}) {
  const { head = 4096, tail = 0 } = options;
  const first = await fetch(url, { headers: { Range: `bytes=0-${head - 1}` }, signal: options.signal ?? null });
  if (first.status === 200) return memorySource(await first.arrayBuffer());
  // No byte of an empty file can be asked for.
  if (first.status === 416) return memorySource(new Uint8Array(0));
  if (!first.ok) throw new SourceError(String(url), `the server answers with HTTP status ${first.status}`);
  const match = /^bytes 0-\d+\/(\d+)$/.exec(first.headers.get('content-range') ?? '');
  if (first.status !== 206 || !match) {
    throw new SourceError(String(url), `HTTP status ${first.status} without a usable Content-Range, expected 206`);
  }
  const size = Number(match[1]);
  const kept = new Uint8Array(await first.arrayBuffer());
  // A file that changes on the server between two requests must not be read as a mixture of two versions. The header
  // If-Range would say so to the server, but other origins answer it only after a preflight request.
  const etag = first.headers.get('etag');

  /** @type {ByteSource['read']} */
  async function request(offset, length, signal = options.signal) {
    const headers = { Range: `bytes=${offset}-${offset + length - 1}` };
    const response = await fetch(url, { headers, signal: signal ?? null });
    if (response.status !== 206) {
      throw new SourceError(String(url), `HTTP status ${response.status} for a range of bytes, expected 206`);
    }
    if (response.headers.get('etag') !== etag) {
      throw new SourceError(String(url), 'the file has changed on the server, open it again');
    }
    return new Uint8Array(await response.arrayBuffer());
  }

  const tailStart = Math.max(kept.length, size - tail);
  /** @type {Promise<Uint8Array> | null} */
  let end = null;
  return {
    size,
    read: async (offset, length, signal) => {
      if (offset + length <= kept.length) return kept.subarray(offset, offset + length);
      if (length === 0) return new Uint8Array(0);
      if (offset < tailStart) return request(offset, length, signal);
      end ??= request(tailStart, size - tailStart);
      try {
        return (await end).subarray(offset - tailStart, offset - tailStart + length);
      } catch (error) {
        // It may be tried again.
        end = null;
        throw error;
      }
    },
  };
}

/**
 * Reads a range and checks that the source kept its promise.
 *
 * @param {ByteSource} source
 * @param {number} offset
 * @param {number} length
 * @param {string} what for errors
 * @param {AbortSignal} [signal] ends the reading
 * @returns {Promise<Uint8Array>}
 */
export async function readRange(source, offset, length, what, signal) {
  if (offset < 0 || offset + length > source.size) {
    throw new StgvError(`${what} at byte ${offset}`, `needs ${length} bytes, the file ends at byte ${source.size}`);
  }
  const bytes = await source.read(offset, length, signal);
  if (bytes.length !== length) {
    throw new StgvError(`${what} at byte ${offset}`, `the source gave ${bytes.length} bytes, expected ${length}`);
  }
  return bytes;
}
