/**
 * A headless Chromium of the system with a page from a server at 127.0.0.1, for tests of what Node does not have.
 */
import { createServer } from 'node:http';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const TYPES = { '.js': 'text/javascript', '.mjs': 'text/javascript', '.html': 'text/html' };

const playwright = await import('playwright-core').catch(() => null);

/** Why there is no browser here, for the `skip` of tests; false where there is one. */
export const noBrowser = !playwright
  ? 'playwright-core is missing: npm ci --prefix tests/web'
  : !existsSync(CHROMIUM) && `there is no ${CHROMIUM}`;

const QUIET = ['--no-sandbox', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

/** Graphics in software, the same on every machine. Pages are slower with WebGPU, which is compiled for the CPU there. */
const WEBGL = ['--use-angle=swiftshader', '--enable-unsafe-swiftshader'];
const WEBGPU = [
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan',
  '--use-vulkan=swiftshader',
];

/** Serves the files of the repository, an empty page at /. */
async function serve(request, response) {
  const path = normalize(decodeURIComponent(new URL(request.url, 'http://localhost').pathname));
  response.setHeader('Content-Type', TYPES[extname(path)] ?? 'application/octet-stream');
  if (path === '/') return response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>test</title>');
  try {
    response.end(await readFile(join(root, path)));
  } catch {
    response.writeHead(404).end();
  }
}

/**
 * Starts the browser.
 *
 * @param {{ webgpu?: boolean }} [options] whether it has WebGPU
 * @param {...string} flags of Chromium besides
 * @returns {Promise<import('playwright-core').Browser>}
 */
export function launch({ webgpu = false } = {}, ...flags) {
  const args = [...QUIET, '--no-first-run', ...WEBGL, ...(webgpu ? WEBGPU : []), ...flags];
  return playwright.chromium.launch({ executablePath: CHROMIUM, args });
}

/**
 * Opens an empty page of a browser with WebGPU.
 *
 * @returns {Promise<{ page: import('playwright-core').Page, close: () => Promise<void> }>}
 */
export async function openPage() {
  const server = createServer(serve).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const browser = await launch({ webgpu: true });
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const close = async () => {
    await browser.close();
    server.closeAllConnections();
    server.close();
  };
  return { page, close };
}
