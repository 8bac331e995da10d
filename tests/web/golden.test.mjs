import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import {
  dequantize,
  GopRenderer,
  memorySource,
  openVideo,
  parseGop,
  readSequentially,
} from '../../web/decoder/index.js';
import { golden, goldenNames, goldenPicture, rgb, specTable } from './helpers.mjs';

const listed = specTable('Table of golden files');
const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest('hex');

test('the specification lists the golden files', () => {
  assert.deepEqual(
    listed.map(([name]) => name),
    goldenNames.map((name) => `${name}.stgv`),
  );
  assert.deepEqual(
    specTable('Table of hashes of symbols and parameters').map(([name]) => name),
    listed.map(([name]) => name),
  );
});

/** The numbers of a GoP in the order in which section 10 hashes them. */
function symbolArrays({ sideInfo, x, y, shapes, colors, staticTables, dynamicTables, tensors }) {
  const { pointScale, pointOffset, shapeScale, shapeOffset, colorScale, staticScales, dynamicScales, mlpScales } =
    sideInfo;
  const points = Uint16Array.from({ length: 2 * x.length }, (_, i) => (i % 2 ? y : x)[i >> 1]);
  return [
    ...[pointScale, pointOffset, shapeScale, shapeOffset, colorScale, staticScales, dynamicScales, mlpScales],
    ...[...sideInfo.codebooks, points, ...shapes, ...colors, ...staticTables, ...dynamicTables, ...tensors],
  ];
}

function parameterArrays({ header, means, factors, colors, staticTables, dynamicTables, tensors }) {
  return [
    means,
    factors,
    colors,
    ...staticTables,
    ...dynamicTables,
    ...header.tensors.map(({ name }) => tensors[name]),
  ];
}

for (const [fileName, ofSymbols, ofParameters] of specTable('Table of hashes of symbols and parameters')) {
  test(`${fileName}: symbols and parameters have their hashes`, async () => {
    const video = await openVideo(golden(fileName.slice(0, -5)));
    const gops = await Promise.all(Array.from({ length: video.nGops }, (_, gop) => video.decodeGop(gop)));
    assert.equal(sha256(...gops.flatMap(symbolArrays)), ofSymbols);
    assert.equal(sha256(...gops.flatMap((symbols) => parameterArrays(dequantize(symbols)))), ofParameters);
  });
}

for (const [fileName, size, fileHash, framesHash] of listed) {
  const name = fileName.slice(0, -5);
  test(`${name}: frames match the PNGs and their hash`, async (t) => {
    const bytes = golden(name);
    assert.equal(bytes.length, Number(size));
    assert.equal(sha256(bytes), fileHash);
    const video = await openVideo(bytes);
    const frames = [];
    let largest = 0;
    for (let frame = 0; frame < video.nFrames; frame++) {
      const picture = await video.renderFrame(frame);
      const expected = goldenPicture(name, frame);
      assert.deepEqual([picture.width, picture.height], [expected.width, expected.height]);
      const samples = rgb(picture);
      let above1 = 0;
      samples.forEach((sample, i) => {
        const difference = Math.abs(sample - expected.data[i]);
        largest = Math.max(largest, difference);
        if (difference > 1) above1++;
      });
      assert.ok(largest <= 2, `frame ${frame} differs by ${largest}`);
      assert.ok(above1 <= samples.length * 1e-4, `frame ${frame}: ${above1} samples differ by more than 1`);
      frames.push(samples);
    }
    // Equal bits are more than the tolerance asks for, so this is only reported.
    t.diagnostic(`largest difference ${largest}, bit-exact: ${sha256(...frames) === framesHash}`);
  });

  test(`${name}: front to back and by the index give the same`, async () => {
    const bytes = golden(name);
    const video = await openVideo(bytes);
    let gop = 0;
    const chunks = readSequentially(memorySource(bytes));
    for (let step = await chunks.next(); ; step = await chunks.next()) {
      if (step.done) {
        assert.deepEqual(step.value, video.index);
        break;
      }
      const { type, offset, payload } = step.value;
      if (type !== 0x8002) continue;
      const { timing, symbols } = parseGop(payload, offset + 14, null);
      assert.deepEqual(symbols, await video.decodeGop(gop));
      const entry = video.gop(gop++);
      assert.equal(timing.ptsFirst, entry.ptsFirst);
      const direct = new GopRenderer(dequantize(symbols), video.header).renderAt(0);
      assert.deepEqual(direct, await video.renderFrame(entry.firstFrame));
    }
    assert.equal(gop, video.nGops);
  });

  test(`${name}: other sizes`, async () => {
    const video = await openVideo(golden(name));
    const { width, height } = video.header;
    for (const scale of [0.5, 1.5, 3]) {
      const picture = await video.renderFrame(video.nFrames - 1, { scale });
      assert.ok(Math.abs(picture.width - Math.max(1, width * scale)) <= 0.5);
      assert.equal(picture.data.length, 4 * picture.width * picture.height);
    }
    const plain = await video.renderFrame(0);
    const large = await video.renderFrame(0, { scale: 3 });
    // The pixel in the middle of each 3 x 3 has the same centre, and so the same sample up to rounding.
    for (let row = 0; row < height; row++) {
      for (let i = 0; i < 4 * width; i++) {
        const [column, c] = [i >> 2, i & 3];
        const middle = large.data[4 * ((3 * row + 1) * 3 * width + 3 * column + 1) + c];
        assert.ok(Math.abs(middle - plain.data[4 * row * width + i]) <= 1);
      }
    }
  });
}

test('times', async () => {
  const video = await openVideo(golden('two_gops'));
  const { num, den } = video.header.timeBase;
  for (let frame = 0; frame < video.nFrames; frame++) {
    const pts = video.timestamp(frame);
    assert.equal(video.index.gops.frameAt(pts), frame);
    assert.equal(video.index.gops.frameAt(pts - 1n), Math.max(0, frame - 1));
    assert.equal(video.frameAt(((Number(pts) + 0.5) * num) / den), frame);
  }
  assert.ok(video.lastFrameSeconds > 0);
  await assert.rejects(video.renderFrame(video.nFrames), RangeError);
  await assert.rejects(video.renderFrame(-1), RangeError);
});

test('the tracks and the metadata of all_modes', async () => {
  const video = await openVideo(golden('all_modes'));
  assert.deepEqual(await video.metadata(), [
    ['title', 'Golden'],
    ['comment', 'two'],
    ['comment', 'lines'],
  ]);
  const tracks = await video.tracks();
  assert.deepEqual(
    tracks.map(({ track, kind, codec }) => [track, kind, codec]),
    [
      [0, 'audio', 'opus'],
      [3, 'subtitles', 'subrip'],
    ],
  );
  const found = [];
  for (const track of tracks) {
    for await (const { pts, data } of video.packets(track))
      found.push([track.track, pts, Buffer.from(data).toString()]);
  }
  assert.deepEqual(found, [
    [0, -312n, 'first'],
    [0, 648n, ''],
    [3, 5n, 'text'],
  ]);
});

test('budgets refuse what they do not allow, by name', async () => {
  const small = await openVideo(golden('compact'), { memory: 1000 });
  await assert.rejects(small.renderFrame(0), { name: 'BudgetError' });
  const video = await openVideo(golden('compact'));
  await assert.rejects(video.renderFrame(0, { scale: 1e6 }), { name: 'BudgetError' });
});
