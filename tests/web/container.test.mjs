import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { blobSource, httpSource, memorySource, openVideo, readSequentially } from '../../web/decoder/index.js';
import { buildFile, chunk, concat, golden, rgb, sint, smallestParts, text, u16, uint } from './helpers.mjs';

const { header, gop } = smallestParts();
const gopChunk = (first, pts) => {
  // The smallest file has the GOP_CHUNK 00 01 00 00, whose first three elements are replaced.
  const timing = [...uint(first), 1, ...sint(pts), 0];
  return [0x8002, concat(timing, gop.subarray(4)), [1, ...timing]];
};
const one = gopChunk(0, 0);

async function bothWays(bytes) {
  const video = await openVideo(bytes);
  for (let i = 0; i < video.nGops; i++) await video.decodeGop(i);
  for await (const _ of readSequentially(memorySource(bytes)));
  return video;
}

async function refusedBothWays(bytes, pattern) {
  await assert.rejects(openVideo(bytes), { name: 'StgvError', message: pattern });
  const drain = async () => {
    for await (const _ of readSequentially(memorySource(bytes)));
  };
  await assert.rejects(drain(), { name: 'StgvError' });
}

test('the builder of these tests rebuilds the smallest file', () => {
  assert.deepEqual(buildFile(header, [one]), golden('smallest'));
});

test('several GoPs, negative timestamps', async () => {
  const bytes = buildFile(header, [gopChunk(0, -(2n ** 62n)), gopChunk(1, -5), gopChunk(2, 2n ** 62n)], { nFrames: 3 });
  const video = await bothWays(bytes);
  assert.deepEqual(
    [0, 1, 2].map((frame) => video.timestamp(frame)),
    [-(2n ** 62n), -5n, 2n ** 62n],
  );
});

test('what the order of GoPs must be', async () => {
  await refusedBothWays(buildFile(header, [gopChunk(1, 0)]), /first_frame 1, expected 0/);
  await refusedBothWays(buildFile(header, [one, gopChunk(1, 0)], { nFrames: 2 }), /pts_first 0, expected more than 0/);
  await refusedBothWays(buildFile(header, [one], { nFrames: 2 }), /found 2, the GoPs have 1/);
});

test('the index and the chunks must agree', async () => {
  const [type, payload] = one;
  for (const [indexGop, pattern] of [
    [[2, 0, 1, 0, 0], /index says 2/],
    [[1, 0, 1, 2, 0], /index says 1/],
    [[1, 0, 1, 0, 2], /index says 2/],
  ]) {
    const video = await openVideo(buildFile(header, [[type, payload, indexGop]]));
    await assert.rejects(video.decodeGop(0), { name: 'StgvError', message: pattern });
  }
});

test('chunk types', async () => {
  await bothWays(buildFile(header, [[0x7abc, [1, 2, 3]], one, [0x0044, []]]));
  await refusedBothWays(buildFile(header, [one, [0x8004, []]]), /critical chunk type 0x8004/);
  await refusedBothWays(buildFile(header, [one, [0x8001, header]]), /second FILE_HEADER/);
  await refusedBothWays(buildFile(header, [one, [0x8003, []]]), /second END/);
  await refusedBothWays(buildFile(header, [[0x0044, []]]), /GoPs have 0/);
});

test('versions and profiles', async () => {
  const changed = (at, value) => header.map((byte, i) => (i === at ? value : byte));
  await refusedBothWays(buildFile(changed(0, 3), [one]), /version 3\.0, this decoder reads 2\.0/);
  await refusedBothWays(buildFile(changed(2, 3), [one]), /profile.*found 3/);
  await refusedBothWays(buildFile(concat(header, [0]), [one]), /1 bytes are left/);
  await refusedBothWays(buildFile(header, [one], { extension: [1] }), /./);
  await bothWays(buildFile(concat(changed(1, 1), [0, 9]), [one], { extension: [1, 2, 3, 4, 5] }));
  // Another major version is named even where nothing else is as this version has it.
  const other = concat(golden('smallest').subarray(0, 8), chunk(0x8001, [7, 1]));
  await assert.rejects(openVideo(other), /version 7\.1/);
});

test('lengths are checked before anything is allocated', async () => {
  const long = golden('smallest').slice();
  const bad = concat(long.subarray(0, 8), chunk(0x8001, header, 2 ** 28));
  await assert.rejects(openVideo(bad), /needs 268435460 bytes/);
  await assert.rejects(openVideo(concat(long.subarray(0, 8), chunk(0x8001, header, 2 ** 28 + 1))), /at most 2\^28/);
});

const track = [
  3,
  0,
  ...text('opus'),
  1,
  ...uint(48000),
  ...uint(48000),
  2,
  ...text('stereo'),
  ...u16(1 + 64 + 512),
  1,
  ...text('title'),
  ...text('Ä'),
  0,
  0x1a,
  0x45,
];
const packets = (pts) => [3, 2, ...sint(pts), ...sint(-1), 10, 10, 1, 0, 2, 1, 7, 8, 9];

test('tracks and metadata', async () => {
  const metadata = [2, ...text('title'), ...text('comment'), ...text('A'), ...text('')];
  const bytes = buildFile(header, [[0x20, metadata], [0x10, track], [0x11, packets(-5)], one, [0x11, packets(30)]]);
  const video = await bothWays(bytes);
  assert.deepEqual(await video.metadata(), [
    ['title', 'A'],
    ['comment', ''],
  ]);
  const [found] = await video.tracks();
  assert.deepEqual(found, {
    track: 3,
    kind: 'audio',
    codec: 'opus',
    timeBase: { num: 1, den: 48000 },
    sampleRate: 48000,
    nChannels: 2,
    channelLayout: 'stereo',
    dispositions: ['default', 'forced'],
    metadata: [['title', 'Ä']],
    setupFormat: 'matroska',
    setup: Uint8Array.of(0x1a, 0x45),
  });
  const all = [];
  for await (const packet of video.packets(found))
    all.push([packet.pts, packet.duration, packet.isKey, ...packet.data]);
  assert.deepEqual(all, [
    [-5n, 10, true, 7, 8],
    [4n, 10, false, 9],
    [30n, 10, true, 7, 8],
    [39n, 10, false, 9],
  ]);
});

test('bad tracks are refused where they are used, and only there', async () => {
  const files = [
    [[[0x10, track], [0x10, track], one], (video) => video.tracks(), /second track 3/],
    [[[0x10, track.slice(0, -2)], one], (video) => video.tracks(), /1 to 2\^20/],
    [[[0x20, [0]], one, [0x20, [0]]], (video) => video.metadata(), /at most one/],
    [[[0x20, [0, 0]], one], (video) => video.metadata(), /are left/],
  ];
  for (const [chunks, use, pattern] of files) {
    const video = await bothWays(buildFile(header, chunks));
    await assert.rejects(use(video), { name: 'StgvError', message: pattern });
  }
  for (const chunks of [
    [[0x11, packets(0)], [0x10, track], one],
    [[0x10, track], [0x11, packets(0)], [0x11, packets(9)], one],
  ]) {
    const video = await bothWays(buildFile(header, chunks));
    const [found] = await video.tracks();
    const drain = async () => {
      for await (const _ of video.packets(found));
    };
    await assert.rejects(drain(), { name: 'StgvError' });
  }
});

test('other sources: a Blob, HTTP with and without ranges', async (t) => {
  const bytes = golden('all_modes');
  const expected = rgb(await (await openVideo(bytes)).renderFrame(30));
  const fromBlob = await openVideo(blobSource(new Blob([bytes])));
  assert.deepEqual(rgb(await fromBlob.renderFrame(30)), expected);
  let sent = 0;
  const server = createServer((request, response) => {
    const range = request.url === '/ranges' && /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    const [start, end] = range ? [Number(range[1]), Math.min(bytes.length, Number(range[2]) + 1)] : [0, bytes.length];
    if (range) response.writeHead(206, { 'Content-Range': `bytes ${start}-${end - 1}/${bytes.length}`, ETag: '"1"' });
    sent += end - start;
    response.end(bytes.subarray(start, end));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { port } = server.address();
  for (const [path, tail] of [
    ['ranges', 0],
    ['ranges', 2048],
    ['ranges', bytes.length],
    ['whole', 0],
  ]) {
    sent = 0;
    const video = await openVideo(await httpSource(`http://127.0.0.1:${port}/${path}`, { head: 256, tail }));
    assert.deepEqual(rgb(await video.renderFrame(30)), expected);
    const all = path === 'whole' || tail === bytes.length;
    assert.ok(all ? sent === bytes.length : sent < bytes.length / 2, `${path}: ${sent} bytes were sent`);
  }
});
