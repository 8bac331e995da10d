import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openVideo } from '../../web/decoder/index.js';
import { buildFile, concat, smallestParts, uint } from './helpers.mjs';

const { header } = smallestParts();

/** A file of some hundred bytes whose streams are all constant, so that its numbers of Gaussians and of parameters are free. */
function constantFile({ n = 1, width = 1, height = 1, log2Size = 1, features = 1, levels = 1, mlpWidth = 1, a = 0 }) {
  const resolutions = (d) =>
    Array(levels * d)
      .fill([0xff, 0xff, 0x03])
      .flat();
  const grid = (d) => [levels, ...resolutions(d), features, log2Size];
  const gopHeader = [1, ...uint(n), 0, 0, 0, 0, 1, 1, 1, 8, 1, 1, ...grid(2), ...grid(3), ...uint(mlpWidth), 1, 0, 1];
  const streams = [
    [0, 0, 0, 0, 0, 0x80, 0, 0x3c],
    [0, 0],
    [],
    [0, a, 0, 0, a, 0, 0, 128],
    [0, 0, 200, 0, 0, 128, 0, 0, 128],
    Array(2 * levels + 8)
      .fill([0, 1])
      .flat(),
  ];
  const timing = [0, 1, 0, 0];
  const gop = concat(
    timing,
    gopHeader,
    streams.flatMap(({ length }) => uint(length)),
    ...streams,
  );
  const size = concat(header.subarray(0, 3), uint(width), uint(height), header.subarray(5));
  return buildFile(size, [[0x8002, gop, [...uint(n), ...timing]]]);
}

test('a file of constant streams decodes', async () => {
  const video = await openVideo(
    constantFile({ n: 1000, width: 20, height: 20, features: 8, log2Size: 10, levels: 16 }),
  );
  assert.equal((await video.renderFrame(0)).data.length, 1600);
});

test('small files near several limits are refused at once or decoded soon', async () => {
  const refusedAs = async (options, name, pattern) => {
    const bytes = constantFile(options);
    assert.ok(bytes.length < 600);
    const start = performance.now();
    const video = await openVideo(bytes, { memory: 1e8 });
    await assert.rejects(video.renderFrame(0), { name, message: pattern });
    assert.ok(performance.now() - start < 3000);
  };
  await refusedAs({ n: 2 ** 22 }, 'BudgetError', /^parameters of the GoP/);
  await refusedAs({ levels: 16, log2Size: 19, features: 8 }, 'StgvError', /at most 2\^24/);
  await refusedAs({ levels: 8, log2Size: 18, features: 8 }, 'BudgetError', /^parameters of the GoP/);
  await refusedAs({ width: 16384, height: 8192 }, 'BudgetError', /^a picture of 16384 x 8192/);
  await refusedAs({ n: 2 ** 17, mlpWidth: 512 }, 'BudgetError', /multiply-additions/);
  await refusedAs({ n: 2 ** 18, width: 80, height: 80, a: 255 }, 'BudgetError', /Gaussians a pixel/);
  await assert.rejects(openVideo(constantFile({ width: 16384, height: 8193 })), /at most 2\^27/);
});
