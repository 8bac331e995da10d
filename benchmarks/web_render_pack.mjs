/**
 * Writes what benchmarks/web_render.py runs without a browser: the shaders of web/render/, a GoP as they take it, and the
 * frames that the CPU makes of it.
 *
 *     node benchmarks/web_render_pack.mjs out.stgv packed
 *
 * The folder gets plan.json, data.f32, levels.u32, and expected.rgba with the first and the last frame.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DEFAULT_BUDGET } from '../web/decoder/budget.js';
import { GopRenderer, openVideo } from '../web/decoder/index.js';
import { packGop } from '../web/render/pack.js';
import { planShot } from '../web/render/view.js';
import { fieldSettings, fieldShader, viewSettings } from '../web/render/gpu_settings.js';
import { PLACE, RASTER } from '../web/render/wgsl.js';

const [path, folder] = process.argv.slice(2);
if (!folder) throw new Error('usage: node benchmarks/web_render_pack.mjs FILE.stgv FOLDER');
const gop = await (await openVideo(new Uint8Array(readFileSync(path)))).readGop(0);
const packed = packGop(gop, DEFAULT_BUDGET);
const { nFrames } = gop.parameters.header;
const base64 = (bytes) => Buffer.from(bytes).toString('base64');
const shot = planShot({ gop, time: 0, size: gop.size });
const { code, tile } = fieldShader(packed);
const renderer = new GopRenderer(gop.parameters, gop.size);

mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, 'data.f32'), packed.data);
writeFileSync(join(folder, 'levels.u32'), packed.levels);
writeFileSync(
  join(folder, 'expected.rgba'),
  Buffer.concat([0, nFrames - 1].map((k) => new Uint8Array(renderer.renderAt(k).data.buffer))),
);
writeFileSync(
  join(folder, 'plan.json'),
  JSON.stringify({
    ...gop.size,
    count: packed.count,
    tile,
    field: code,
    place: PLACE,
    raster: RASTER,
    settings: Array.from({ length: nFrames }, (_, k) => base64(fieldSettings(gop, packed, k))),
    view: base64(viewSettings(shot, packed.count, packed.bits)),
  }),
);
