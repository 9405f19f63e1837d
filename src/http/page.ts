import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** One answer to a GET of the page or of a part of it. */
export interface PageAnswer {
  /** 304 when the browser's copy is the same: then the body is empty. */
  readonly status: 200 | 304;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** The operator's page, read from disk once. */
export interface Page {
  /**
   * What to answer for a path: `/` and `/page/…`; undefined when there is no such file. `ifNoneMatch` is the
   * request's If-None-Match header.
   */
  get(path: string, ifNoneMatch?: string): PageAnswer | undefined;
}

interface PageFile {
  readonly body: Buffer;
  readonly headers: Readonly<Record<string, string>>;
}

/** What the page is made of; nothing else that lies in its folder is served. */
const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};
/** From `src/http` and from `dist/http` alike. */
const FOLDER = '../../page';
const NOTHING = Buffer.alloc(0);

/**
 * The page loads from its own origin and nowhere else, runs no text as code, sends no form and sits in no frame.
 * Kraken's and the clients' texts are shown on it: what is not in this list is what they could be made to do.
 */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy': POLICY,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  // A page of an older version must not talk to a newer proxy: it is asked for each time, and mostly answered 304.
  'cache-control': 'no-cache',
};

/**
 * Reads the page's files and its charts' library. Rejects with the system's error when one cannot be read: an
 * installation without its page is broken.
 */
export async function openPage(): Promise<Page> {
  const folder = join(dirname(fileURLToPath(import.meta.url)), FOLDER);
  const library = dirname(createRequire(import.meta.url).resolve('uplot'));
  const sources: [path: string, file: string][] = [
    ['/page/uplot.js', join(library, 'uPlot.esm.js')],
    ['/page/uplot.css', join(library, 'uPlot.min.css')],
  ];
  for (const name of await readdir(folder)) {
    if (TYPES[extname(name)] === undefined) continue;
    sources.push([name === 'index.html' ? '/' : `/page/${name}`, join(folder, name)]);
  }
  const files = new Map<string, PageFile>();
  for (const [path, file] of sources) files.set(path, await readPageFile(file));
  return { get: (path, ifNoneMatch) => answer(files.get(path), ifNoneMatch) };
}

async function readPageFile(file: string): Promise<PageFile> {
  const body = await readFile(file);
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`;
  const type = TYPES[extname(file)] ?? 'application/octet-stream';
  return { body, headers: { ...HEADERS, 'content-type': type, etag } };
}

function answer(file: PageFile | undefined, ifNoneMatch: string | undefined): PageAnswer | undefined {
  if (file === undefined) return undefined;
  const { body, headers } = file;
  const known = ifNoneMatch?.split(',').map((tag) => tag.trim().replace(/^W\//, '')) ?? [];
  if (known.includes(headers.etag ?? '')) return { status: 304, headers, body: NOTHING };
  return { status: 200, headers, body };
}
