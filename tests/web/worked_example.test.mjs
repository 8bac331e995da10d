import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dequantize, openVideo } from '../../web/decoder/index.js';
import { AnsDecoder } from '../../web/decoder/entropy.js';
import { Field, timeOf } from '../../web/decoder/field.js';
import { familyFrequencies } from '../../web/decoder/models.js';
import { gaussiansOf } from '../../web/decoder/splat.js';
import { bytesOf, golden, numbers, rgb, spec, specTable } from './helpers.mjs';

const file = golden('worked_example');
const video = await openVideo(file);
const symbols = await video.decodeGop(0);
const parameters = dequantize(symbols);

test('every byte of the file is that of the listing and of the anatomy', () => {
  const listing = spec.slice(spec.indexOf('<!-- worked example:')).split('```')[1];
  const bytes = listing
    .trim()
    .split('\n')
    .flatMap((line) => Array.from(bytesOf(line.slice(6))));
  assert.deepEqual(Array.from(file), bytes);
  let covered = 0;
  for (const [place, cell] of specTable('<!-- anatomy')) {
    const at = parseInt(place, 16);
    // A row that ends in dots shows the beginning of a stream; the next row begins behind the stream.
    const shown = bytesOf(cell.replace(/ \.\.\.$/, ''));
    assert.deepEqual(file.subarray(at, at + shown.length), shown);
    assert.ok(at === covered, `row ${place} begins at ${at}, expected ${covered}`);
    const next = specTable('<!-- anatomy')
      .map(([other]) => parseInt(other, 16))
      .find((other) => other > at);
    covered = cell.endsWith('...') ? next : at + shown.length;
  }
  assert.equal(covered, file.length);
});

test('the header', () => {
  assert.deepEqual(video.header, {
    versionMajor: 2,
    versionMinor: 0,
    profile: 'compact',
    width: 8,
    height: 8,
    frameRate: { num: 25, den: 1 },
    timeBase: { num: 1, den: 25 },
    sampleAspect: { num: 1, den: 1 },
    lastFrameDuration: 1,
    colorPrimaries: 1,
    colorTransfer: 13,
    colorMatrix: 1,
    colorFullRange: true,
    tool: 'example',
  });
  assert.deepEqual([video.timestamp(0), video.timestamp(1), video.lastFrameSeconds], [0n, 1n, 0.04]);
});

test('the symbols of the Gaussians', () => {
  for (const [gaussian, point, shape, color] of specTable('Worked example, symbols of the Gaussians')) {
    const i = Number(gaussian);
    assert.deepEqual([symbols.x[i], symbols.y[i]], numbers(point));
    assert.deepEqual(
      symbols.shapes.map((attribute) => attribute[i]),
      numbers(shape),
    );
    assert.deepEqual(
      symbols.colors.map((attribute) => attribute[i]),
      numbers(color),
    );
  }
});

test('SIDE_INFO', () => {
  const { sideInfo } = symbols;
  const arrays = [
    [sideInfo.pointScale, [2 ** -6, 2 ** -6]],
    [sideInfo.pointOffset, [-1, -1]],
    [sideInfo.shapeScale, [0.5, 0.5, 0.25]],
    [sideInfo.shapeOffset, []],
    [sideInfo.colorScale, Array(3).fill(2 ** -5)],
    [sideInfo.staticScales, [0.25]],
    [sideInfo.dynamicScales, [0.25]],
    [sideInfo.mlpScales, Array(10).fill(0.25)],
  ];
  for (const [found, expected] of arrays) assert.deepEqual(Array.from(found), expected);
});

test('the field', () => {
  const arrays = [...symbols.staticTables, ...symbols.dynamicTables, ...symbols.tensors];
  const rows = specTable('Worked example, field');
  assert.equal(rows.length, arrays.length);
  rows.forEach(([, , , q], i) =>
    assert.deepEqual(
      Array.from(arrays[i], (symbol) => symbol - 32),
      numbers(q),
    ),
  );
  assert.deepEqual(Array.from(parameters.staticTables[0]), [0.5, -0.25, 0, 0.25]);
  assert.deepEqual(Array.from(parameters.dynamicTables[0]), [0.25, 0, -0.5, 0.75]);
});

test('the states of the coders', () => {
  const coders = { shapes: [0x88, 13], colors: [0x95, 17], field: [0xa6, 43] };
  for (const [name, [start, length]] of Object.entries(coders)) {
    const section = spec.slice(spec.indexOf(`**${name}** (at 0x${start.toString(16)})`));
    const state = BigInt(/Decoding starts with\s+state = (0x[0-9a-f]+)/.exec(section)[1]);
    // The coder's bytes are the end of the stream; those of shapes and colors are listed in one line of the text.
    const listed = bytesOf(/ANS\s+bytes\s+`([0-9a-f ]+)`/.exec(section)[1]);
    assert.deepEqual(file.subarray(start + length - listed.length, start + length), listed);
    const coder = new AnsDecoder(listed, name);
    assert.equal((BigInt(coder.high) << 32n) | BigInt(coder.low), state);
  }
});

test('the parameters', () => {
  for (const [gaussian, mean, factor, color] of specTable('Worked example, parameters')) {
    const i = Number(gaussian);
    assert.deepEqual(Array.from(parameters.means.subarray(2 * i, 2 * i + 2)), numbers(mean));
    assert.deepEqual(Array.from(parameters.factors.subarray(3 * i, 3 * i + 3)), numbers(factor));
    assert.deepEqual(Array.from(parameters.colors.subarray(3 * i, 3 * i + 3)), numbers(color));
  }
});

test('what the symbols of the Gaussians cost', () => {
  const models = [
    ['normal', 2, 4],
    ['geometric', 4, 3],
    ['geometric', 5, 128],
    ['normal', 15, 139],
    ['normal', 34, 127],
    ['geometric', 16, 124],
  ].map((model) => familyFrequencies(...model, 256));
  specTable('Worked example, symbols of the Gaussians').forEach(([, , shape, color], i) => {
    const coded = [...numbers(shape), ...numbers(color)];
    // A raw bucket costs 8 bits, and 9, 10 and 10 low bits follow.
    const expected = coded.reduce((sum, s, j) => sum + 24 - Math.log2(models[j][s]), 8 + [9, 10, 10][i]);
    assert.ok(Math.abs(symbols.bits[i] - expected) < 1e-4);
  });
});

test('the Gaussians of each frame', () => {
  const field = new Field(parameters);
  for (const [frame, gaussian, fs, , ...expected] of specTable('Worked example, Gaussians of each frame')) {
    const changes = field.at(timeOf(Number(frame), 2));
    const gaussians = gaussiansOf(parameters, changes, { width: 8, height: 8 });
    assert.equal(field.staticFeatures[Number(gaussian)], Number(fs));
    const found = Array.from(gaussians.subarray(8 * Number(gaussian), 8 * Number(gaussian) + 8));
    assert.deepEqual(found, expected.flatMap(numbers));
  }
});

test('pixels', async () => {
  for (const [frame, channel, samples] of specTable('Worked example, pixels of row 3')) {
    const row = rgb(await video.renderFrame(Number(frame))).subarray(3 * 8 * 3, 4 * 8 * 3);
    assert.deepEqual(
      Array.from({ length: 8 }, (_, x) => row[3 * x + 'RGB'.indexOf(channel)]),
      numbers(samples),
    );
  }
});
