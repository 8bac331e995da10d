/** A server of web/ and of files made by tests, with byte ranges, which writes down what is asked of it. */
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const TYPES = { '.js': 'text/javascript', '.html': 'text/html', '.css': 'text/css', '.svg': 'image/svg+xml' };

export class PlayerServer {
  /** Path -> bytes, or a function that answers. */
  files = new Map();
  /** [path, first byte, byte behind the last] of each request for a file of `files`. */
  asked = [];
  /** Is called with path, start and end, and waited for, before such a request is answered. */
  gate = async () => {};

  async start() {
    this.server = createServer((request, response) => this.answer(request, response).catch(() => response.destroy()));
    this.server.listen(0, '127.0.0.1');
    await new Promise((resolve) => this.server.once('listening', resolve));
    this.origin = `http://127.0.0.1:${this.server.address().port}`;
  }

  async answer(request, response) {
    const path = normalize(decodeURIComponent(new URL(request.url, this.origin).pathname));
    // Browsers ask for it of every page that names no icon.
    if (path === '/favicon.ico') return response.writeHead(204).end();
    const made = this.files.get(path);
    if (typeof made === 'function') return made(request, response);
    if (made) return this.sendRange(path, made, request, response);
    try {
      const body = await readFile(join(root, path));
      response.writeHead(200, { 'Content-Type': TYPES[extname(path)] ?? 'application/octet-stream' }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  }

  async sendRange(path, bytes, request, response) {
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    if (first === undefined) return response.end(bytes);
    const [start, end] = [Number(first), Math.min(bytes.length, Number(last) + 1)];
    this.asked.push([path, start, end]);
    await this.gate(path, start, end);
    response.writeHead(206, { 'Content-Range': `bytes ${start}-${end - 1}/${bytes.length}`, ETag: '"1"' });
    return response.end(bytes.subarray(start, end));
  }

  /** Bytes of a file that were asked for. */
  bytesOf(path) {
    return this.asked.filter(([asked]) => asked === path).reduce((sum, [, start, end]) => sum + end - start, 0);
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }
}
