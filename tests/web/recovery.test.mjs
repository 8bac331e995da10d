import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memorySource, openVideo } from '../../web/decoder/index.js';
import { recoverVideo } from '../../web/decoder/recovery.js';
import { buildFile, chunk, concat, golden, rgb, smallestParts } from './helpers.mjs';

const recover = (bytes) => recoverVideo(memorySource(bytes));

test('an intact file is recovered whole', async () => {
  for (const name of ['two_gops', 'all_modes']) {
    const { video, report } = await recover(golden(name));
    const intact = await openVideo(golden(name));
    assert.deepEqual(report, { lost: [], passedOver: [], searchEnded: false });
    assert.deepEqual([video.nFrames, video.nGops], [intact.nFrames, intact.nGops]);
    for (let gop = 0; gop < video.nGops; gop++) assert.deepEqual(video.gop(gop), intact.gop(gop));
  }
});

test('a damaged GoP shows the nearest frame', async () => {
  const intact = await openVideo(golden('two_gops'));
  const [first, second] = [intact.gop(0), intact.gop(1)];
  const damaged = golden('two_gops');
  damaged[first.offset + 20] ^= 1;
  const { video, report } = await recover(damaged);
  assert.deepEqual(report.lost, [{ start: first.offset, end: second.offset }]);
  assert.deepEqual([video.nFrames, video.nGops], [intact.nFrames, 1]);
  const expected = await intact.renderFrame(second.firstFrame);
  assert.deepEqual(await video.renderFrame(0), expected);
  assert.deepEqual(await video.renderFrame(second.firstFrame), expected);
});

test('neither magic nor END chunk is needed, and bytes may be missing', async () => {
  const file = golden('two_gops');
  const { gops } = (await openVideo(file)).index;
  const cut = concat(
    [1, 2, 0xf5, 0x53],
    file.subarray(8, gops.get(0).offset + 50),
    file.subarray(gops.get(0).offset + 60, -20),
  );
  const { video, report } = await recover(cut);
  assert.equal(video.nGops, 1);
  assert.equal(report.lost.length, 3);
  assert.ok(rgb(await video.renderFrame(0)).length);
});

test('what recovery refuses and passes over', async () => {
  const { header, gop } = smallestParts();
  const one = [0x8002, gop, [1, 0, 1, 0, 0]];
  await assert.rejects(recover(new Uint8Array(100)), /no intact FILE_HEADER/);
  await assert.rejects(recover(new Uint8Array(0)), /no intact FILE_HEADER/);
  await assert.rejects(recover(chunk(0x8001, header)), /no intact GOP/);
  await assert.rejects(recover(concat(chunk(0x8abc, []), golden('smallest'))), /critical/);
  await assert.rejects(recover(concat(chunk(0x8002, gop), chunk(0x8001, header))), /no intact GOP/);
  const { video, report } = await recover(buildFile(header, [one, one, [0x8001, header]]));
  assert.equal(video.nGops, 1);
  assert.equal(report.passedOver.length, 2);
});

test('the work of recovery is bounded', async () => {
  // Every chunk header claims all that follows, so that the work would grow with the square of the size.
  const count = 4000;
  const parts = Array.from({ length: count }, (_, i) => chunk(0x7000, [], (count - i - 1) * 18).subarray(0, 14));
  const bytes = concat(...parts.map((part) => concat(part, [0, 0, 0, 0])), golden('smallest'));
  const start = performance.now();
  await assert.rejects(recover(bytes), /no intact FILE_HEADER/);
  assert.ok(performance.now() - start < 2000);
});
