import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memorySource, openVideo, parseGop, readSequentially, StgvError } from '../../web/decoder/index.js';
import { crc32 } from '../../web/decoder/crc32.js';
import { golden, u32 } from './helpers.mjs';

/** Decodes and renders all of a file by the index. */
async function decodeAll(bytes) {
  const video = await openVideo(bytes);
  for (let frame = 0; frame < video.nFrames; frame++) await video.renderFrame(frame);
}

async function decodeSequentially(bytes) {
  for await (const { type, offset, payload } of readSequentially(memorySource(bytes))) {
    if (type === 0x8002) parseGop(payload, offset + 14, null);
  }
}

/** A small generator of pseudo-random numbers (xorshift), so that failures can be repeated. */
function random(seed) {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

test('every flipped byte of the smallest file is refused', async () => {
  const file = golden('smallest');
  for (let at = 0; at < file.length; at++) {
    for (const flip of [1, 0x80, 0xff]) {
      const damaged = file.slice();
      damaged[at] ^= flip;
      await assert.rejects(decodeAll(damaged), StgvError, `byte ${at} ^ ${flip}, by the index`);
      await assert.rejects(decodeSequentially(damaged), StgvError, `byte ${at} ^ ${flip}, front to back`);
    }
  }
});

test('every truncation is refused', async () => {
  for (const name of ['smallest', 'worked_example']) {
    const file = golden(name);
    for (let length = 0; length < file.length; length++) {
      await assert.rejects(decodeAll(file.subarray(0, length)), StgvError, `${name}, ${length} bytes`);
      await assert.rejects(decodeSequentially(file.subarray(0, length)), StgvError, `${name}, ${length} bytes`);
    }
  }
});

test('bytes behind the file are refused', async () => {
  const file = golden('smallest');
  for (const extra of [[0], [0, 0, 0, 0], Array.from(file)]) {
    const longer = Uint8Array.from([...file, ...extra]);
    await assert.rejects(decodeAll(longer), StgvError);
    await assert.rejects(decodeSequentially(longer), StgvError);
  }
});

/** Changes one byte of the payload of each chunk in turn and mends its CRC, so that only the syntax can refuse it. */
test('damage under a valid CRC is refused or decodes', { timeout: 15000 }, async (t) => {
  let refused = 0;
  let decoded = 0;
  const next = random(2463534242);
  for (const name of ['smallest', 'worked_example', 'paper']) {
    const file = golden(name);
    const view = new DataView(file.buffer, file.byteOffset);
    for (let start = 8; start < file.length; start += 18 + view.getUint32(start + 6, true)) {
      const length = view.getUint32(start + 6, true);
      for (let i = 0; i < length; i += name === 'paper' ? 2 : 1) {
        const damaged = file.slice();
        damaged[start + 14 + i] = name === 'paper' ? next(256) : damaged[start + 14 + i] ^ (1 << next(8));
        damaged.set(u32(crc32(damaged.subarray(start + 14, start + 14 + length))), start + 14 + length);
        try {
          await decodeAll(damaged);
          decoded++;
        } catch (error) {
          if (!(error instanceof StgvError)) throw new Error(`${name}: byte ${start + 14 + i}`, { cause: error });
          refused++;
        }
      }
    }
  }
  t.diagnostic(`${refused} refused, ${decoded} decoded`);
});
