import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TestClient } from '../support/http.js';
import { Scrape } from '../support/metrics.js';
import { openProxyWorld, type ProxyWorld } from '../support/proxy-world.js';
import { until } from '../support/until.js';

const BROWSER = [process.env.CHROMIUM_PATH, '/usr/bin/chromium', '/usr/bin/google-chrome'].find(
  (path) => path !== undefined && existsSync(path),
);
if (BROWSER === undefined) {
  process.stderr.write('SKIPPED: the test with a real browser (no chromium; CHROMIUM_PATH may name one)\n');
}
const withBrowser = BROWSER === undefined ? describe.skip : describe;

/** Everything by which a page can make its visitor's browser send a request to another origin. */
function page(call: string, rebound: string, ops: string): string {
  return `<!doctype html><meta charset="utf-8"><title>cats</title><body>
<script>
const order = 'pair=XBTUSD&type=buy&ordertype=market&volume=1';
const plain = { method: 'POST', mode: 'no-cors', body: order, headers: { 'content-type': 'text/plain' } };
const tries = [];
function form(action, enctype) {
  const frame = document.createElement('iframe');
  frame.name = 'f' + tries.length;
  const form = document.createElement('form');
  Object.assign(form, { action, enctype, method: 'POST', target: frame.name });
  for (const [name, value] of new URLSearchParams(order)) {
    form.append(Object.assign(document.createElement('input'), { name, value, type: 'hidden' }));
  }
  document.body.append(frame, form);
  tries.push(new Promise((resolve) => frame.addEventListener('load', resolve)));
  form.submit();
}
form('${call}/0/private/AddOrder', 'application/x-www-form-urlencoded');
form('${call}/0/private/AddOrder', 'text/plain');
form('${rebound}/0/private/AddOrder', 'application/x-www-form-urlencoded');
form('${ops}/v1/startup-window/close', 'application/x-www-form-urlencoded');
tries.push(fetch('${call}/0/private/AddOrder', plain));
tries.push(fetch('${rebound}/0/private/AddOrder', plain));
tries.push(fetch('${call}/0/private/AddOrder', { ...plain, mode: 'cors' }));
tries.push(fetch('${call}/0/private/AddOrder', { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } }));
tries.push(fetch('${call}/0/public/Time', { mode: 'no-cors' }));
tries.push(fetch('${ops}/metrics', { mode: 'no-cors' }));
tries.push(fetch('${ops}/v1/startup-window/close', plain));
navigator.sendBeacon('${call}/0/private/AddOrder', new URLSearchParams(order));
tries.push(new Promise((resolve) => {
  new WebSocket('${call.replace('http', 'ws')}/0/private/AddOrder').onclose = resolve;
}));
tries.push(new Promise((resolve) => {
  Object.assign(new Image(), { onerror: resolve, src: '${call}/0/private/AddOrder?' + order });
}));
Promise.allSettled(tries).then(() => fetch('/done', { method: 'POST' }));
</script>`;
}

withBrowser('a web page in a real browser on the same machine', () => {
  let world: ProxyWorld;
  let evil: Server;
  let browser: ChildProcess;
  let profile: string;
  let done: Promise<void>;

  beforeAll(async () => {
    world = await openProxyWorld({ config: { startup: { windowMs: 600_000 } } });
    let finish = (): void => undefined;
    done = new Promise((resolve) => (finish = resolve));
    const port = new URL(world.url).port;
    const html = page(world.url, `http://evil.example:${port}`, world.opsUrl);
    evil = createServer((request, response) => {
      if (request.url === '/done') finish();
      response.writeHead(200, { 'content-type': 'text/html' }).end(request.url === '/' ? html : '');
    });
    await new Promise<void>((resolve) => evil.listen(0, '127.0.0.1', resolve));
    profile = mkdtempSync(join(tmpdir(), 'kraken-proxy-browser-'));
    const options = [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--disable-dev-shm-usage',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--remote-debugging-port=0', // keeps it open
      '--host-resolver-rules=MAP evil.example 127.0.0.1',
      `--user-data-dir=${profile}`,
      `http://evil.example:${(evil.address() as AddressInfo).port}/`,
    ];
    browser = spawn(BROWSER ?? '', options, { stdio: 'ignore', detached: true });
    await done;
  }, 60_000);
  afterAll(async () => {
    const ended = new Promise((resolve) => browser.once('exit', resolve));
    process.kill(-(browser.pid ?? 0), 'SIGKILL'); // the browser and its children, which we started
    await ended;
    evil.closeAllConnections();
    await new Promise((resolve) => evil.close(resolve));
    await world.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  });

  it('gets nothing to Kraken, not even a public call, and spends no nonce', async () => {
    expect(world.sandbox.receivedCount).toBe(0);
    expect((await Scrape.of(world.opsUrl)).value('nonces_issued_total')).toBe(0);
  });

  it('is refused for each thing it tried, and each refusal is counted and logged', async () => {
    const refused = world.log.filter(({ msg }) => msg === 'refused');
    expect(refused.every(({ error }) => error === 'permission-denied')).toBe(true);
    // Four forms, six or more fetches, beacon, WebSocket, image; a browser may keep some back by itself.
    expect(refused.length).toBeGreaterThanOrEqual(10);
    await until(async () => {
      const scrape = await Scrape.of(world.opsUrl);
      const counted = scrape.value('own_errors_total', { code: 'permission-denied' });
      return counted === world.log.filter(({ msg }) => msg === 'refused').length;
    });
  });

  it('does not act on the ops listener', async () => {
    expect((await Scrape.of(world.opsUrl)).value('startup_window_open')).toBe(1);
    expect(world.log.filter(({ msg }) => msg === 'operator')).toEqual([]);
  });

  it('does not keep a program on the machine from being served', async () => {
    const client = new TestClient(world.url);
    expect((await client.private('Balance')).json?.error).toEqual([]);
    client.close();
  });
});
