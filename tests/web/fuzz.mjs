/**
 * Decodes hostile files: reads cases from the standard input, each a u32 (little-endian) with its length and its bytes,
 * and answers each with a line: how it ended, the milliseconds that it took, and the memory of the process in MiB. An
 * error other than those of the decoder ends the process. tests/fuzz/in_javascript.py is the other end.
 */
import {
  memorySource,
  openVideo,
  parseGop,
  readSequentially,
  StgvError,
  BudgetError,
} from '../../web/decoder/index.js';
import { recoverVideo } from '../../web/decoder/recovery.js';
import { checkFieldWork } from '../../web/decoder/budget.js';
import { GopRenderer } from '../../web/decoder/splat.js';

const BUDGET = { memory: 2 ** 28, work: 512 };
/** GoPs of a file that are decoded, and pixels and Gaussians of those that are drawn, so that most cases are short. */
const MOST = { gops: 4, pixels: 2 ** 16, gaussians: 2 ** 12, work: 2 ** 26 };

/** Runs a part of the decoder; tells how it ended. */
async function endOf(part) {
  try {
    return await part();
  } catch (error) {
    if (error instanceof BudgetError) return 'beyond budgets';
    if (error instanceof StgvError) return 'refused';
    throw error;
  }
}

async function decode(video) {
  for await (const track of await video.tracks()) for await (const packet of video.packets(track)) void packet;
  await video.metadata();
  let end = 'drawn';
  for (let gop = 0; gop < Math.min(MOST.gops, video.nGops); gop++) {
    const { parameters, size } = await video.readGop(gop);
    const { header } = parameters;
    checkFieldWork(header, size, BUDGET);
    const multiplications =
      header.nGaussians * header.tensors.reduce((sum, { rows, columns }) => sum + rows * columns, 0);
    const isLong = size.width * size.height > MOST.pixels || header.nGaussians > MOST.gaussians;
    if (isLong || multiplications > MOST.work) {
      end = 'decoded';
      continue;
    }
    const renderer = new GopRenderer(parameters, size, BUDGET);
    for (const time of [0, (header.nFrames - 1) / 2]) renderer.renderAt(time, 0.5);
  }
  return end;
}

async function run(bytes) {
  const opened = await endOf(async () => decode(await openVideo(bytes, BUDGET)));
  await endOf(async () => {
    for await (const { type, offset, payload } of readSequentially(memorySource(bytes))) {
      if (type === 0x8002) parseGop(payload, offset + 14, null, BUDGET.memory);
    }
  });
  if (opened !== 'refused') return opened;
  const recovered = await endOf(async () => decode((await recoverVideo(memorySource(bytes), BUDGET)).video));
  return recovered === 'refused' ? 'refused' : 'recovered';
}

let waiting = Buffer.alloc(0);
for await (const part of process.stdin) {
  waiting = Buffer.concat([waiting, part]);
  while (waiting.length >= 4 && waiting.length >= 4 + waiting.readUInt32LE(0)) {
    const length = waiting.readUInt32LE(0);
    const began = performance.now();
    const end = await run(Uint8Array.from(waiting.subarray(4, 4 + length)));
    const memory = Math.round(process.memoryUsage().rss / 2 ** 20);
    process.stdout.write(`${end}\t${(performance.now() - began).toFixed(1)}\t${memory}\n`);
    waiting = waiting.subarray(4 + length);
  }
}
