import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openPage, type Page } from '../../src/http/page.js';

const FOLDER = join(dirname(fileURLToPath(import.meta.url)), '../../page');
const sources = readdirSync(FOLDER)
  .filter((name) => /\.(?:js|html|css)$/.test(name))
  .map((name) => ({ name, text: readFileSync(join(FOLDER, name), 'utf8') }));

describe("the page's files", () => {
  let page: Page;
  beforeAll(async () => {
    page = await openPage();
  });

  it('are found with their types, the charts’ library among them', () => {
    const types = [
      '/',
      '/page/main.js',
      '/page/page.css',
      '/page/icon.svg',
      '/page/uplot.js',
      '/page/uplot.css',
    ].map((path) => page.get(path)?.headers['content-type']);
    expect(types).toEqual([
      'text/html; charset=utf-8',
      'text/javascript; charset=utf-8',
      'text/css; charset=utf-8',
      'image/svg+xml',
      'text/javascript; charset=utf-8',
      'text/css; charset=utf-8',
    ]);
  });

  it('all that one names is there', () => {
    const named = sources.flatMap(({ text }) => [
      ...[...text.matchAll(/(?:src|href)="(\/page\/[^"]+)"/g)].map(([, path]) => path ?? ''),
      ...[...text.matchAll(/^import .* from '\.\/([^']+)'/gm)].map(([, file]) => `/page/${file ?? ''}`),
    ]);
    expect(named).toContain('/page/main.js');
    expect(named).toContain('/page/uplot.js');
    expect([...new Set(named)].filter((path) => page.get(path) === undefined)).toEqual([]);
  });

  it('carry a policy that lets nothing in from elsewhere and no text run as code', () => {
    for (const path of ['/', '/page/main.js']) {
      const headers = page.get(path)?.headers ?? {};
      expect(headers['content-security-policy']).toBe(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
      );
      expect(headers).toMatchObject({
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
        'cross-origin-opener-policy': 'same-origin',
        'cross-origin-resource-policy': 'same-origin',
        'cache-control': 'no-cache',
      });
    }
  });

  it('a browser that has the same copy gets no second one', () => {
    const { status, headers, body } = page.get('/page/main.js') ?? fail();
    expect([status, body.length > 0]).toEqual([200, true]);
    const etag = headers.etag ?? '';
    expect(etag).toMatch(/^"[\w-]{22}"$/);
    for (const known of [etag, `W/${etag}`, `"other", ${etag}`]) {
      const again = page.get('/page/main.js', known);
      expect([again?.status, again?.body.length, again?.headers.etag]).toEqual([304, 0, etag]);
    }
    expect(page.get('/page/main.js', '"other"')?.status).toBe(200);
    expect(page.get('/page/page.css', etag)?.status).toBe(200);
  });

  it.each([
    '/index.html',
    '/page',
    '/page/',
    '/page/index.html',
    '/page/tsconfig.json',
    '/page/types.d.ts',
    '/page/../package.json',
    '/page/constructor',
    '/package.json',
  ])('%s is not one', (path) => {
    expect(page.get(path)).toBeUndefined();
  });

  it('hold no script, style or handler within the HTML, name no other host, and never read text as HTML', () => {
    const html = sources.find(({ name }) => name === 'index.html')?.text ?? fail();
    expect(html).not.toMatch(/<style|\sstyle=|\son\w+=|<script(?![^>]* src=)/i);
    for (const { text } of sources) {
      expect(text).not.toMatch(
        /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/,
      );
      expect(text).not.toMatch(/(?:https?:)?\/\/[a-z0-9.-]+\.[a-z]{2,}/i);
    }
  });
});

function fail(): never {
  throw new Error('a file of the page is not there');
}
