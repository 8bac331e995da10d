import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inflateSync } from 'node:zlib';
import { crc32 } from '../../web/decoder/crc32.js';

const here = dirname(fileURLToPath(import.meta.url));

export const goldenFolder = join(here, '../golden');
export const spec = readFileSync(join(here, '../../bitstream_spec.md'), 'utf8');
export const goldenNames = readdirSync(goldenFolder)
  .filter((name) => name.endsWith('.stgv'))
  .map((name) => name.slice(0, -5));
export const golden = (name) => new Uint8Array(readFileSync(join(goldenFolder, `${name}.stgv`)));
export const goldenPicture = (name, frame) =>
  readPng(join(goldenFolder, name, `${String(frame).padStart(6, '0')}.png`));

/** Reads an 8-bit RGB PNG without interlacing to { width, height, data: [height][width][3] }. */
export function readPng(path) {
  const file = readFileSync(path);
  const parts = [];
  let width = 0;
  let height = 0;
  for (let at = 8; at < file.length; at += 12 + file.readUInt32BE(at)) {
    const body = file.subarray(at + 8, at + 8 + file.readUInt32BE(at));
    const type = file.toString('latin1', at + 4, at + 8);
    if (type === 'IHDR') {
      [width, height] = [body.readUInt32BE(0), body.readUInt32BE(4)];
      if (body[8] !== 8 || body[9] !== 2 || body[12] !== 0) throw new Error(`${path}: expected 8-bit RGB`);
    } else if (type === 'IDAT') parts.push(body);
  }
  const raw = inflateSync(Buffer.concat(parts));
  const stride = 3 * width;
  const data = new Uint8Array(stride * height);
  for (let row = 0; row < height; row++) {
    const filter = raw[row * (stride + 1)];
    for (let i = 0; i < stride; i++) {
      const left = i >= 3 ? data[row * stride + i - 3] : 0;
      const up = row ? data[(row - 1) * stride + i] : 0;
      const corner = row && i >= 3 ? data[(row - 1) * stride + i - 3] : 0;
      const p = left + up - corner;
      const [pa, pb, pc] = [Math.abs(p - left), Math.abs(p - up), Math.abs(p - corner)];
      const paeth = pa <= pb && pa <= pc ? left : pb <= pc ? up : corner;
      const predicted = [0, left, up, (left + up) >> 1, paeth][filter];
      data[row * stride + i] = raw[row * (stride + 1) + 1 + i] + predicted;
    }
  }
  return { width, height, data };
}

/** Drops the alpha channel of a picture. */
export function rgb({ data }) {
  const result = new Uint8Array((data.length / 4) * 3);
  for (let p = 0; 4 * p < data.length; p++) for (let c = 0; c < 3; c++) result[3 * p + c] = data[4 * p + c];
  return result;
}

/** The rows of the first table of the specification behind `caption`, as arrays of cells without backticks. */
export function specTable(caption) {
  const start = spec.indexOf(caption);
  if (start < 0) throw new Error(`the specification has no ${caption}`);
  const lines = spec.slice(start).split('\n');
  const first = lines.findIndex((line) => line.startsWith('|'));
  const rows = [];
  for (let i = first + 2; lines[i]?.startsWith('|'); i++) {
    rows.push(
      lines[i]
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim().replaceAll('`', '')),
    );
  }
  return rows;
}

export const numbers = (text) => (text ? text.split(' ').map(Number) : []);
export const bytesOf = (text) => Uint8Array.from(text ? text.split(' ') : [], (byte) => parseInt(byte, 16));
export const concat = (...parts) => Uint8Array.from(parts.flatMap((part) => Array.from(part)));

export const u16 = (value) => [value & 255, value >> 8];
export const u32 = (value) => [0, 8, 16, 24].map((shift) => (value >>> shift) & 255);
export function uint(value) {
  const bytes = [];
  for (let rest = BigInt(value); ; rest >>= 7n) {
    if (rest < 128n) return [...bytes, Number(rest)];
    bytes.push(Number(rest & 127n) | 128);
  }
}
export const sint = (value) => uint(BigInt(value) >= 0n ? 2n * BigInt(value) : -2n * BigInt(value) - 1n);
export const text = (value) => [...uint(Buffer.byteLength(value)), ...Buffer.from(value)];

export function chunk(type, payload, length = payload.length) {
  const head = [0xf5, 0x53, 0x47, 0xc1, ...u16(type), ...u32(length)];
  return concat(head, u32(crc32(Uint8Array.from(head))), payload, u32(crc32(Uint8Array.from(payload))));
}

/** Parts of the smallest file, from which tests build others. */
export function smallestParts() {
  const file = golden('smallest');
  const view = new DataView(file.buffer, file.byteOffset);
  const payloads = [];
  for (let at = 8; at < file.length; at += 18 + view.getUint32(at + 6, true)) {
    payloads.push(file.slice(at + 14, at + 14 + view.getUint32(at + 6, true)));
  }
  return { header: payloads[0], gop: payloads[1] };
}

/**
 * Builds a file with a consistent index.
 *
 * @param chunks [type, payload, INDEX_GOP bytes of a GOP chunk] each
 */
export function buildFile(header, chunks, { nFrames = 1, extension = [] } = {}) {
  const entries = chunks.map(([type, payload, indexGop = []]) => [...u16(type), ...uint(payload.length), ...indexGop]);
  const index = [...uint(nFrames), ...uint(chunks.length), ...entries.flat(), ...extension];
  const end = chunk(0x8003, [...index, ...u32(index.length + 4 + 18)]);
  const magic = [0x89, 0x53, 0x54, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
  return concat(magic, chunk(0x8001, header), ...chunks.map(([type, payload]) => chunk(type, payload)), end);
}
