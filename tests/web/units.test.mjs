import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from '../../web/decoder/crc32.js';
import { fromHalf, scaleTable } from '../../web/decoder/dequantize.js';
import { AnsDecoder, decodeConditional } from '../../web/decoder/entropy.js';
import { ansModel, familyFrequencies, readFrequencyTable, readModel } from '../../web/decoder/models.js';
import { decodePoints } from '../../web/decoder/points.js';
import { ByteReader } from '../../web/decoder/reader.js';
import { changeShape, lowPass, scaledSize } from '../../web/decoder/splat.js';
import { bytesOf, numbers, sint, specTable, uint } from './helpers.mjs';

const reader = (...bytes) => new ByteReader(Uint8Array.from(bytes), 'test');

/** A raw model of buckets, and their bits. */
function pointStreams(buckets, bits) {
  return [reader(4, ...buckets), new ByteReader(bits, 'point_bits')];
}

test('CRC-32', () => {
  assert.equal(crc32(new TextEncoder().encode('123456789')), 0xcbf43926);
  assert.equal(crc32(new Uint8Array(0)), 0);
  assert.equal(crc32(Uint8Array.of(2, 3), crc32(Uint8Array.of(1))), crc32(Uint8Array.of(1, 2, 3)));
});

test('integers of LEB128', () => {
  assert.equal(reader(0xac, 0x02).uint('x', 0, 1000), 300);
  assert.equal(reader(0x05).sint('x', -10n, 10n), -3n);
  for (const value of [0n, -1n, 1n, 1n << 40n, -(1n << 62n), 1n << 62n, (1n << 49n) - 1n, 1n << 53n]) {
    assert.equal(reader(...sint(value)).sint('x', -(1n << 62n), 1n << 62n), value);
  }
  for (const value of [0, 127, 128, 2 ** 32, 2 ** 40, 2 ** 49 - 1, 2 ** 49, 2 ** 53 - 1]) {
    assert.equal(reader(...uint(value)).uint('x', 0, 2 ** 53 - 1), value);
  }
  assert.throws(() => reader(0x80, 0x00).uint('x', 0, 9), /test\.x at byte 0: .*shortest/);
  assert.throws(() => reader(0x80).uint('x', 0, 9), /the data end/);
  assert.throws(() => reader(...Array(9).fill(0x80), 2).uint('x', 0, 9), /64 bits/);
  assert.throws(() => reader(...Array(10).fill(0xff), 1).uint('x', 0, 9), /10 bytes/);
  assert.throws(() => reader(...uint(2n ** 64n - 1n)).uint('x', 0, 9), /expected 0 to 9/);
});

test('texts and floats', () => {
  assert.equal(reader(3, 0xef, 0xbb, 0xbf).text('x', 0, 9), '\ufeff');
  for (const bad of [
    [1, 0x80],
    [2, 0xc0, 0x80],
    [3, 0xed, 0xa0, 0x80],
    [1, 10],
    [2, 0xc2, 0x9f],
    [1, 0x7f],
    [2, 65],
  ]) {
    assert.throws(() => reader(...bad).text('x', 0, 9), { name: 'StgvError' });
  }
  assert.equal(Object.is(reader(0, 0, 0, 0x80).f32('x', 0, 1), -0), true);
  assert.throws(() => reader(0, 0, 0xc0, 0x7f).f32('x', 0, 1), /NaN/);
  assert.throws(() => reader(0, 0, 0x80, 0x7f).f32('x', 0, 2 ** 96), { name: 'StgvError' });
});

test('gaps', () => {
  for (const [gap, bucket, low] of specTable('Gap test values')) {
    const bits = Uint8Array.from({ length: Math.ceil(low.length / 8) }, (_, i) =>
      parseInt(low.slice(8 * i, 8 * i + 8).padEnd(8, '0'), 2),
    );
    const { x, y } = decodePoints(...pointStreams([Number(bucket)], bits), 1, 1, new Float32Array(1));
    let z = 0n;
    for (let i = 0n; i < 16n; i++) {
      z |= (((BigInt(x[0]) >> i) & 1n) << (2n * i)) | (((BigInt(y[0]) >> i) & 1n) << (2n * i + 1n));
    }
    assert.equal(z, BigInt(gap));
  }
  for (const bucket of [1, 2, 3, 5, 7]) {
    assert.throws(
      () => decodePoints(...pointStreams([bucket], new Uint8Array(0)), 1, 1, new Float32Array(1)),
      /bucket/,
    );
  }
  for (const bucket of [129, 130, 131]) {
    assert.throws(
      () => decodePoints(...pointStreams([bucket], new Uint8Array(4)), 1, 1, new Float32Array(1)),
      /Morton/,
    );
  }
});

test('points', () => {
  for (const [points, buckets, bits] of specTable('Point test values')) {
    const pairs = points.split(' ').map((pair) => pair.split(',').map(Number));
    const costs = new Float32Array(pairs.length);
    const decode = (bytes, mode = 1) =>
      decodePoints(...pointStreams(numbers(buckets), bytes), pairs.length, mode, costs);
    const { x, y } = decode(bytesOf(bits));
    assert.deepEqual(
      pairs,
      Array.from(x, (value, i) => [value, y[i]]),
    );
    assert.throws(() => decode(bytesOf(`${bits} 00`)), /bytes are left/);
    assert.throws(() => decode(bytesOf(bits).subarray(0, -1)), /bits end/);
    assert.throws(() => decode(bytesOf(bits.replace(/0$/, '1'))), /padding/);
    assert.throws(() => decode(bytesOf(bits), 0), /not finite/);
  }
});

test('frequency tables', () => {
  for (const [p, alphabet, bytes, expected] of specTable('Table test values')) {
    const data = reader(...bytesOf(bytes));
    const found = readFrequencyTable(data, 'x', Number(p), Number(alphabet));
    assert.deepEqual(
      Array.from(found, (f) => f / 2 ** (24 - p)),
      numbers(expected),
    );
    data.end();
  }
});

test('families of frequencies', () => {
  for (const [family, p, centre, alphabet, expected] of specTable('Family test values')) {
    assert.deepEqual(
      Array.from(familyFrequencies(family, Number(p), Number(centre), Number(alphabet))),
      numbers(expected),
    );
  }
});

test('all families sum to 2^24, as integers of any size say', () => {
  for (const family of ['geometric', 'normal', 'narrow']) {
    for (let p = 0; p < (family === 'narrow' ? 16 : 64); p += 3) {
      for (const [alphabet, centre] of [
        [2, 1],
        [132, 40],
        [256, 0],
        [256, 255],
        [256, 128],
      ]) {
        let q = 63n << 24n;
        for (let i = 0; i < p; i++) q = family === 'geometric' ? (q * 29n) >> 5n : (q * 55n) >> 6n;
        let r = family === 'narrow' ? (2n ** 30n) >> BigInt(7 + p) : 2n ** 30n - q;
        const m = family === 'normal' ? (r * r) >> 30n : 2n ** 30n;
        const w = [2n ** 30n];
        for (let d = 0; d < 256; d++) {
          w.push((w[d] * r) >> 30n);
          r = (r * m) >> 30n;
        }
        const symbols = Array.from({ length: alphabet }, (_, s) => w[Math.abs(s - centre)]);
        const sum = symbols.reduce((a, b) => a + b);
        const f = symbols.map((weight) => 1n + (weight * (2n ** 24n - BigInt(alphabet))) / sum);
        f[centre] += 2n ** 24n - f.reduce((a, b) => a + b);
        assert.deepEqual(Array.from(familyFrequencies(family, p, centre, alphabet), BigInt), f);
      }
    }
  }
});

test('models that are none', () => {
  for (const first of [8, 12, 1, 61, 129, 255 - 2]) {
    assert.throws(() => readModel(reader(first, 0, 0, 0), 'x', 1, 4, true), /no model/);
  }
  assert.throws(() => readModel(reader(0, 4), 'x', 1, 4, true), /expected 0 to 3/);
  assert.throws(() => readModel(reader(2, 4), 'x', 1, 4, true), /expected 0 to 3/);
  assert.throws(() => readModel(reader(4, 0), 'x', 1, 4, false), /no model/);
  assert.throws(() => readModel(reader(4, 1), 'x', 1, 2, true), /padding/);
  assert.throws(() => readModel(reader(4, 0xc0), 'x', 1, 3, true), /expected 0 to 2/);
});

test('ANS', () => {
  for (const [frequencies, symbols, words] of specTable('ANS test values')) {
    const bytes = words.split(' ').flatMap((word) => [6, 4, 2, 0].map((i) => parseInt(word.slice(i, i + 2), 16)));
    while (bytes.at(-1) === 0) bytes.pop();
    const found = new Uint8Array(numbers(symbols).length);
    const decode = (data) => {
      const coder = new AnsDecoder(Uint8Array.from(data), 'coder');
      coder.decode(ansModel(numbers(frequencies)), found);
      coder.finish();
    };
    decode(bytes);
    assert.deepEqual(Array.from(found), numbers(symbols));
    assert.throws(() => decode([...bytes, 0]), /last byte/);
    assert.throws(() => decode([...bytes, 0, 0, 0, 0, 1]), { name: 'StgvError' });
    assert.throws(() => decode(bytes.slice(1)), { name: 'StgvError' });
    assert.throws(() => decode([]), { name: 'StgvError' });
  }
});

test('conditional streams', () => {
  for (const [context, stream, symbols] of specTable('Conditional test values')) {
    const known = { other: Uint8Array.from(numbers(context)) };
    const attribute = { name: 'x', alphabet: 4, context: ['other'] };
    const { length } = known.other;
    decodeConditional(reader(...bytesOf(stream)), length, [attribute], known, new Float32Array(length));
    assert.deepEqual(Array.from(known.x), numbers(symbols));
  }
  const one = { name: 'x', alphabet: 4, context: ['other'] };
  const decode = (...bytes) =>
    decodeConditional(reader(...bytes), 1, [one], { other: Uint8Array.of(0) }, new Float32Array(1));
  assert.throws(() => decode(16), /expected 0 to 15/);
  assert.throws(() => decode(1, 0), /expected 1 to 255/);
  assert.throws(() => decode(2, 5, 5), /expected 6 to 255/);
  assert.throws(() => decode(0, 0, 2, 9), /bytes are left/);
});

test('binary16', () => {
  for (const [pattern, value] of [
    [0, 0],
    [0x3c00, 1],
    [0xc000, -2],
    [0x7bff, 65504],
    [1, 2 ** -24],
    [0x03ff, 1023 * 2 ** -24],
  ]) {
    assert.equal(fromHalf(pattern), value);
  }
});

test('scale tables', () => {
  const float = new Float32Array(1);
  const bits = new Uint32Array(float.buffer);
  for (const [scale, expected] of specTable('Scale table test values')) {
    bits[0] = parseInt(scale, 16);
    const table = scaleTable(float[0]);
    const patterns = [0, 1, 2, 10, 50, 80, 255].map(
      (k) => ((float[0] = table[k]), bits[0].toString(16).padStart(8, '0')),
    );
    assert.deepEqual(patterns.join(' '), expected);
  }
});

test('changes of shape and low-pass', () => {
  for (const [before, delta, after] of specTable('Shape change test values')) {
    const factor = Float64Array.from(numbers(before));
    changeShape(factor, ...numbers(delta));
    numbers(after).forEach((value, i) => assert.ok(Math.abs(factor[i] - value) <= 1e-6 * Math.abs(value)));
  }
  const nan = Float64Array.of(1, 1, 1);
  changeShape(nan, NaN, 0, 0);
  assert.ok(Number.isNaN(nan[0]));
  const [l1, l2, l3] = [3, -2, 0.75];
  const factor = Float64Array.of(l1, l2, l3);
  lowPass(factor, 0.3);
  const [a, b, c] = factor;
  const close = (x, y) => assert.ok(Math.abs(x - y) < 1e-12);
  close(a * a, l1 * l1 + 0.3);
  close(a * b, l1 * l2);
  close(b * b + c * c, l2 * l2 + l3 * l3 + 0.3);
});

test('sizes of pictures', () => {
  assert.deepEqual(scaledSize(5, 7, 0.5), { width: 2, height: 4 });
  assert.deepEqual(scaledSize(1, 3, 0.1), { width: 1, height: 1 });
  assert.throws(() => scaledSize(1, 1, 0), RangeError);
});
