import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import {
  describeWithBrowser,
  keepScreenshot,
  openBrowser,
  seriousViolations,
  showOn,
  sidewaysScroll,
  visit,
  type Visit,
} from '../support/browser.js';
import { TestClient } from '../support/http.js';
import { Scrape } from '../support/metrics.js';
import {
  doAct,
  figureOf,
  giveToken,
  textsOf,
  untilLive,
  untilShown,
  untilStale,
} from '../support/page-hands.js';
import { openProxyWorld, type ConfigParts, type ProxyWorld } from '../support/proxy-world.js';
import { signedRequest } from '../support/sign.js';
import { until } from '../support/until.js';

const withBrowser = describeWithBrowser("the operator's page on a real proxy");
const ORDER = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '0.01' };
const ANA = { who: 'ana', why: 'prices look wrong' };
const TOKEN = 'night-shift-token-2026';
const CLIENTS = {
  'grid-bot': { key: 'grid-bot', accounts: ['master', 'alice'] },
  reports: { key: 'reports', accounts: ['master', 'alice'], allow: ['read'] },
};

withBrowser("the operator's page, on a real proxy", () => {
  let browser: Browser;
  let world: ProxyWorld;
  let visits: Visit[];
  let cleanups: (() => unknown)[];
  /** What a test expects to go wrong; everything else fails it. */
  let expected: RegExp | undefined;

  beforeAll(async () => {
    browser = await openBrowser();
  });
  afterAll(() => browser.close());
  beforeEach(() => {
    visits = [];
    cleanups = [];
    expected = undefined;
  });
  afterEach(async () => {
    const trouble = visits.flatMap((each) => each.trouble);
    for (const each of visits) await each.close();
    await world.close();
    for (const cleanup of cleanups.reverse()) await cleanup();
    expect(trouble.filter((text) => expected?.test(text) !== true)).toEqual([]);
  });

  async function open(config: ConfigParts = {}, options: { folder?: string } = {}): Promise<void> {
    world = await openProxyWorld({ config, ...options });
  }
  async function openPage(url = world.opsUrl): Promise<Page> {
    const opened = await visit(browser, url);
    visits.push(opened);
    return opened.page;
  }
  async function openBoard(): Promise<Page> {
    const page = await openPage();
    await untilLive(page);
    return page;
  }
  function client(key?: string): TestClient {
    const made = new TestClient(world.url, key === undefined ? {} : { 'API-Key': key });
    cleanups.push(() => made.close());
    return made;
  }
  async function waiting(count: number): Promise<void> {
    await until(async () => (await world.status()).lanes.every((lane) => lane.waiting === count));
  }

  it('shows the figures of /metrics, after a load that is known', async () => {
    await open({
      clients: CLIENTS,
      pacing: { enabled: true, merge: false },
      doctor: { enabled: true, intervalMs: 0 },
      journal: { enabled: true },
    });
    const [bot, reports] = [client('grid-bot'), client('reports')];
    await until(async () => (await world.status()).findings.length === 4);
    for (let count = 0; count < 6; count++) {
      await bot.private('AddOrder', ORDER, '/accounts/master');
      await reports.private('Balance', {}, '/accounts/alice');
    }
    await bot.private('AddOrder', { ...ORDER, pair: 'nonsense' }, '/accounts/master'); // refused by Kraken
    await reports.private('AddOrder', ORDER, '/accounts/master'); // not sent: its rules
    await world.act('pause');
    const held = [1, 2, 3].map(() => bot.private('Balance', {}, '/accounts/master'));
    await waiting(3);

    const page = await openBoard();
    await until(async () => {
      const lines = (await Scrape.of(world.opsUrl)).value('journal_lines_total');
      const note = (await textsOf(page, '#notes li')).find((text) => text.startsWith('Journal'));
      return note?.includes(`${lines} lines written`) === true;
    });
    const scrape = await Scrape.of(world.opsUrl);
    const calls = (labels = {}): number => scrape.value('calls_total', labels);
    expect(await figureOf(page, 'Calls')).toBe(calls());
    expect(calls()).toBe(16); // 14, and two of the doctor
    for (const [figure, outcome] of [
      ['Executed', 'executed'],
      ['Refused', 'refused'],
      ['Unknown', 'unknown'],
      ['Not sent', 'not-sent'],
    ] as const)
      expect([figure, await figureOf(page, figure)]).toEqual([figure, calls({ outcome })]);
    expect(await page.locator('#call-rows tr').count()).toBe(calls());

    const { nonce, accounts, findings } = await world.status();
    const issued = scrape.value('nonces_issued_total');
    await untilShown(page, '#figures', nonce.floor ?? 'no floor');
    await untilShown(page, '#figures', `level with the clock, ${issued} drawn`);
    expect(scrape.value('nonce_lead_seconds')).toBe(0);

    expect(scrape.value('lane_waiting')).toBe(3);
    expect(await textsOf(page, '#lane-rows td')).toEqual(['0', '3', '3 read']);
    expect(await textsOf(page, '#client-rows td:nth-child(2)')).toEqual(['3', '0']);
    const levels = new Map<string, number>();
    for (const { name, callCounter } of accounts) {
      const card = page.locator('#account-list > li').filter({ has: page.locator('h3', { hasText: name }) });
      const meter = card.getByRole('meter', { name: 'Call counter' });
      levels.set(name, Number(await meter.getAttribute('aria-valuenow')));
      expect(await meter.getAttribute('aria-valuemax')).toBe(String(callCounter.max));
      // It falls by half a point a second between the looks.
      const told = scrape.value('call_counter', { account: name });
      expect(Math.abs((levels.get(name) ?? NaN) - told)).toBeLessThan(2);
    }
    expect(levels.get('alice')).toBeGreaterThan(levels.get('master') ?? NaN); // which placed orders only
    const chips = await textsOf(page, '#findings-list .chip');
    expect(chips).toHaveLength(scrape.value('findings'));
    expect(chips.sort()).toEqual(findings.map(({ account }) => account).sort());

    await untilShown(page, '#notes li', 'Paused: everything, by a test');
    await world.act('resume');
    for (const reply of await Promise.all(held)) expect(reply.json?.error).toEqual([]);
    await until(async () => (await figureOf(page, 'Calls')) === 19);
    expect((await Scrape.of(world.opsUrl)).value('calls_total')).toBe(19);
  });

  it('pauses, lets go, holds to cancels and drops, and the journal has who and why', async () => {
    await open({ clients: CLIENTS, journal: { enabled: true }, doctor: { enabled: true, intervalMs: 0 } });
    const bot = client('grid-bot');
    const page = await openBoard();

    await doAct(page, { button: 'Pause…', submit: 'Pause', ...ANA, choose: { What: 'account:master' } });
    await untilShown(page, '#toast', 'Paused account master.');
    const held = bot.private('Balance', {}, '/accounts/master');
    await untilShown(page, '#lane-rows', '1 read');
    const master = page.locator('#account-list > li').first();
    await master.filter({ hasText: /Paused by ana since [\d:]+: prices look wrong/ }).waitFor();
    await untilShown(page, '#verdict-text', 'Ready, but master is paused.');
    expect(await textsOf(page, '#client-rows td:nth-child(2)')).toEqual(['1', '0']);
    await master.getByRole('button', { name: 'Resume account master…' }).click();
    const dialog = page.getByRole('dialog', { name: 'Resume' });
    expect(await dialog.getByLabel('What').inputValue()).toBe('account:master');
    await dialog.getByLabel('Why').fill('all well');
    await dialog.getByRole('button', { name: 'Resume', exact: true }).click();
    expect((await held).json?.error).toEqual([]);
    await untilShown(page, '#call-rows tr:first-child', 'Balance');
    await untilShown(page, '#verdict-text', 'Ready: calls are taken and sent.');

    await doAct(page, { button: 'Cancel only…', submit: 'Set to cancel only', ...ANA });
    await untilShown(page, '#toast', 'Cancel only: everything.');
    expect((await bot.private('AddOrder', ORDER, '/accounts/master')).headers['x-proxy-error']).toBe(
      'permission-denied',
    );
    await untilShown(
      page,
      '#call-rows tr:first-child',
      /AddOrder.*Not sent.*an operator lets only cancels and reads through/,
    );
    await doAct(page, { button: 'Pause…', submit: 'Pause', ...ANA });
    await untilShown(page, '#toast', 'Paused everything.');
    const dropped = [1, 2].map(() => bot.private('AddOrder', ORDER, '/accounts/alice'));
    await untilShown(page, '#lane-rows', '2 order');
    await doAct(page, {
      ...{ button: 'Drop waiting calls…', submit: 'Drop', ...ANA },
      choose: { Client: 'grid-bot' },
    });
    await untilShown(page, '#toast', 'Dropped 2 waiting calls of grid-bot.');
    for (const reply of await Promise.all(dropped)) expect(reply.json?.error).toEqual(['EService:Busy']);
    await doAct(page, { button: 'Resume…', submit: 'Resume', ...ANA });
    await untilShown(page, '#toast', 'Resumed everything.');
    await doAct(page, { button: 'Resume…', submit: 'Resume', ...ANA });
    await untilShown(page, '#act [role=alert]', 'is not held');
    expected = /404/;
    await page.keyboard.press('Escape');

    world.sandbox.setKey(DEMO_KEYS[0]?.key ?? '', { nonceWindow: 5_000n });
    await doAct(page, { button: 'Examine keys now…', submit: 'Examine', ...ANA });
    await untilShown(page, '#toast', /All keys examined: \d+ findings, \d+ error/);
    await untilShown(page, '#findings-list', 'nonce window');

    const told = world.log.filter(({ msg, result }) => msg === 'operator' && result === 'done');
    expect(told.map(({ act, target, who, why }) => [act, target, who, why])).toEqual([
      ['pause', 'account master', 'ana', 'prices look wrong'],
      ['resume', 'account master', 'ana', 'all well'],
      ['cancel-only', 'everything', 'ana', 'prices look wrong'],
      ['pause', 'everything', 'ana', 'prices look wrong'],
      ['drop', 'client grid-bot', 'ana', 'prices look wrong'],
      ['resume', 'everything', 'ana', 'prices look wrong'],
      ['doctor', undefined, 'ana', 'prices look wrong'],
    ]);
    const journal = join(world.folder, 'state.txt.journal.jsonl');
    await until(() => actsIn(journal).length === 8);
    expect(actsIn(journal)).toContainEqual(
      expect.objectContaining({ act: 'pause', who: 'ana', why: 'prices look wrong', result: 'done' }),
    );
  });

  it('plans a nonce jump from what Kraken has seen, and makes it', async () => {
    await open({ nonce: { file: 'state.txt', liftMs: 0 }, doctor: { enabled: true, intervalMs: 0 } });
    const [{ key, secret } = { key: '', secret: '' }] = DEMO_KEYS;
    const seen = (BigInt(Date.now()) + 3_600_000n) * 1_000_000n;
    await signedRequest(world.sandbox.url, '/0/private/Balance', key, secret, `nonce=${seen}`);
    const bot = client();
    expect((await bot.private('Balance')).json?.error).toEqual(['EAPI:Invalid nonce']);
    world.sandbox.setKey(key, { nonceWindow: 7_200_000n * 1_000_000n }); // the doctor's own questions pass
    const page = await openBoard();
    await doAct(page, {
      ...{ button: 'Nonce jump…', submit: 'Show the plan', ...ANA },
      choose: { Account: 'master' },
    });
    const to = String(seen + 1_000_000_000n);
    for (const text of [
      'Kraken has seen a nonce 1.00 h above ours',
      to,
      'cannot be undone',
      'account master',
    ])
      await untilShown(page, '.plan', text);
    world.sandbox.setKey(key, { nonceWindow: 0n });
    await page.getByLabel('Type jump to go on').fill('jump');
    await page.getByRole('button', { name: 'Apply the jump' }).click();
    await untilShown(page, '#toast', `Nonce jump done: the floor is ${to}.`);
    const master = page.locator('#account-list > li').first();
    await master.filter({ hasText: to }).waitFor();
    await master.filter({ hasText: /1 h( 1 s)? ahead of the clock|59 min \d+ s ahead/ }).waitFor();
    expect((await bot.private('Balance')).json?.error).toEqual([]);
  });

  it('reloads the configuration, and shows why one that is no good is not taken', async () => {
    expected = /409/;
    await open();
    const page = await openBoard();
    world.rewrite({ queue: { maxWaitMs: 1_234 }, listen: { port: 0, bodyTimeoutMs: 9_000 } });
    await doAct(page, { button: 'Reload configuration…', submit: 'Reload', ...ANA });
    await untilShown(page, '#toast', 'Reloaded: queue.maxWaitMs. Needs a restart: listen.bodyTimeoutMs.');
    world.rewrite({ queue: { maxWaitMs: -5 } });
    await doAct(page, { button: 'Reload configuration…', submit: 'Reload', ...ANA });
    await untilShown(page, '#act [role=alert]', /queue\.maxWaitMs/);
    await keepScreenshot(page, 'reload-refused', false);
    world.rewrite('{ not json');
    await page.getByRole('button', { name: 'Reload', exact: true }).click();
    await untilShown(page, '#act [role=alert]', /proxy\.config\.json/);
  });

  it('asks for the token, says when it is wrong, and keeps it for the tab alone', async () => {
    expected = /401|ERR_ABORTED|ERR_INCOMPLETE/;
    await open({ ops: { port: 0, token: TOKEN } });
    const page = await openPage();
    await giveToken(page, 'night-shift-guess-2026');
    await untilShown(page, '#token-error[role=alert]', 'That is not the token of this proxy.');
    expect(await page.locator('#board').isVisible()).toBe(false);
    await keepScreenshot(page, 'token', false);
    await page.getByLabel('Token').fill(TOKEN);
    await page.keyboard.press('Enter');
    await untilLive(page);
    expect(await page.evaluate('JSON.stringify(localStorage) + document.cookie')).not.toContain(TOKEN);
    await page.reload();
    await untilLive(page);
    world.rewrite({ ops: { port: 0, token: 'day-shift-token-2026' } });
    await doAct(page, { button: 'Reload configuration…', submit: 'Reload', ...ANA });
    await untilShown(page, '#token-error', 'does not take the token it took before');
    expect(await page.locator('#board, dialog').filter({ visible: true }).count()).toBe(0);
    expect(await page.content()).not.toContain(TOKEN);
  });

  it('shows within 3 s that the proxy is gone, and follows the next one on its ports by itself', async () => {
    expected = /ERR_|failed/;
    const folder = mkdtempSync(join(tmpdir(), 'kraken-page-'));
    cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
    await open({}, { folder });
    const ports = { listen: { port: portOf(world.url) }, ops: { port: portOf(world.opsUrl) } };
    for (let count = 0; count < 5; count++) await client().private('Balance');
    const page = await openBoard();
    expect(await figureOf(page, 'Calls')).toBe(5);
    const stale = untilStale(page);
    await world.close();
    expect(await stale).toBeLessThan(3_000);
    await untilShown(page, '#stale', /No connection to the proxy\. The figures are from .*\d\d:\d\d:\d\d\./);
    await untilShown(page, '#connection', 'Reconnecting since');
    await untilShown(page, '#verdict-text', 'Last known: Ready');
    await untilShown(page, '#announce', 'Connection to the proxy lost.');
    expect(await page.title()).toBe('No connection · Kraken signing proxy');
    await keepScreenshot(page, 'gone', false);
    await open(ports, { folder });
    for (let count = 0; count < 2; count++) await client().private('CancelAll');
    await untilShown(page, '#connection', 'Live');
    await until(async () => (await figureOf(page, 'Calls')) === 2);
    await untilShown(page, '#verdict-text', /^Ready/);
    expect(await page.locator('#call-rows tr').count()).toBe(2);
  });

  it('is opened by a link on another site, and obeys no other page', async () => {
    expected = /blocked by CORS|403|404|ERR_/;
    await open();
    const { port, close } = await serveForeignPage(world.opsUrl);
    cleanups.push(close);
    // The same host with another port is of the same site, another name of it is of another.
    for (const host of ['127.0.0.1', 'localhost']) {
      const page = await openPage(`http://${host}:${port}/`);
      expect(await page.evaluate('attack()')).toEqual(['failed', 'failed', 'failed', 'failed']);
      await page.frameLocator('iframe').getByText('comes from a web page').waitFor();
      await page.getByRole('button', { name: 'Free money' }).click(); // a form that posts an act
      await page.getByText('comes from a web page').waitFor();
      await page.goto(`http://${host}:${port}/`);
      await page.getByRole('link', { name: 'The proxy' }).click();
      await untilLive(page);
    }
    expect((await world.status()).hold).toBeNull();
    expect(world.log.filter(({ msg }) => msg === 'operator')).toEqual([]);
  });

  it('counts down to the next try of a key that Kraken turns away', async () => {
    await open({
      accounts: {
        master: { key: 'nobody', secret: DEMO_KEYS[0]?.secret ?? '' },
        alice: { key: DEMO_KEYS[1]?.key ?? '', secret: DEMO_KEYS[1]?.secret ?? '' },
      },
    });
    await client().private('Balance');
    const page = await openBoard();
    const seconds = async (): Promise<number> => {
      const text = await page.locator('#account-list > li').first().innerText();
      const [, minutes = '0', rest = '0'] = /next try in (?:(\d+) min ?)?(?:(\d+) s)?/.exec(text) ?? [];
      return Number(minutes) * 60 + Number(rest);
    };
    const first = await seconds();
    expect(first).toBeGreaterThan(0);
    expect(Math.abs(first - (await Scrape.of(world.opsUrl)).value('breaker_seconds'))).toBeLessThan(10);
    await untilShown(page, '#verdict-text', 'Ready, but master’s breaker is open');
    await until(async () => (await seconds()) < first);
    await untilShown(page, '#account-list', 'Kraken does not know this key');
  });

  it('keeps up with a flood of calls: a tick a second, at most 200 rows', async () => {
    await open();
    const page = await openBoard();
    await page.evaluate(COUNT_TICKS);
    const made = await flood(world.url, 3_000);
    await until(async () => (await figureOf(page, 'Calls')) === made);
    await untilShown(page, '#calls-count', '200 calls');
    const ticks = await page.evaluate<
      {
        at: number;
        calls: number;
        skipped: number;
      }[]
    >('globalThis.ticks');
    expect(new Set(ticks.map(({ at }) => at)).size).toBe(ticks.length);
    expect(Math.max(...ticks.map(({ calls }) => calls))).toBe(200);
    expect(ticks.reduce((sum, { calls, skipped }) => sum + calls + skipped, 0)).toBe(made);
    expect(await page.locator('#call-rows tr').count()).toBe(200);
    expect((await Scrape.of(world.opsUrl)).value('calls_total')).toBe(made);
  });

  it('looks right, and stands in nobody’s way, light and dark, wide and on a phone', async () => {
    await open({
      clients: { ...CLIENTS, hedger: { key: 'hedger', accounts: ['master', 'alice'] } },
      ...{ pacing: { enabled: true, merge: false }, journal: { enabled: true } },
      doctor: { enabled: true, intervalMs: 0 },
    });
    const page = await openPage();
    await untilLive(page);
    for (const key of ['grid-bot', 'hedger', 'reports']) {
      const bot = client(key);
      for (const pair of ['XBTUSD', 'ETHUSD', 'nonsense']) {
        await bot.private('AddOrder', { ...ORDER, pair }, '/accounts/master');
        await bot.private('Balance', {}, '/accounts/alice');
      }
    }
    await world.act('pause', { account: 'alice', who: 'ana', why: 'margin call, looking into it' });
    const held = client('hedger').private('Balance', {}, '/accounts/alice');
    await untilShown(page, '#lane-rows', '1 read');
    for (const screen of ['wide', 'phone'] as const) {
      for (const scheme of ['light', 'dark'] as const) {
        await showOn(page, screen, scheme);
        await keepScreenshot(page, `real-${screen}-${scheme}`);
        expect(await sidewaysScroll(page)).toBe(0);
        expect(await seriousViolations(page)).toEqual([]);
      }
    }
    await world.act('resume', { account: 'alice' });
    expect((await held).json?.error).toEqual([]);
  });
});

function portOf(url: string): number {
  return Number(new URL(url).port);
}

/** The acts in a journal. */
function actsIn(file: string): Record<string, unknown>[] {
  const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
  return lines
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ kind }) => kind === 'act');
}

/** Notes in the page what each tick brought. */
const COUNT_TICKS = `(() => {
  globalThis.ticks = [];
  const { parse } = JSON;
  JSON.parse = (text) => {
    const value = parse(text);
    if (value?.second) globalThis.ticks.push({ at: value.second.at, calls: value.calls.length, skipped: value.skipped });
    return value;
  };
})()`;

/** So many calls, as fast as they go, over connections that stay; resolves once all are answered. */
async function flood(url: string, count: number): Promise<number> {
  const request =
    `POST /0/private/Balance HTTP/1.1\r\nHost: ${new URL(url).host}\r\n` +
    'Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 0\r\n\r\n';
  let sent = 0;
  const bot = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const socket = connect(portOf(url), '127.0.0.1');
      const next = (): void => {
        if (sent++ < count) socket.write(request);
        else socket.end(resolve);
      };
      socket.on('connect', next).on('data', next).on('error', reject);
    });
  await Promise.all(Array.from({ length: 16 }, bot));
  return count;
}

/** A page of somebody else, with a link to the operator's page, a form that acts, and a script that tries the rest. */
async function serveForeignPage(target: string): Promise<{ port: number; close: () => Promise<unknown> }> {
  const html = `<!doctype html><link rel="icon" href="data:,"><a href="${target}/">The proxy</a>
    <form action="${target}/v1/pause" method="post" enctype="text/plain">
      <input name='{"who":"eve","why":"' value='"}'><button>Free money</button></form>
    <iframe src="${target}/"></iframe>
    <script>
      const body = JSON.stringify({ who: 'eve', why: 'fun' });
      const outcome = (asked) => asked.then(({ type }) => type, () => 'failed');
      const attack = () => Promise.all([
        outcome(fetch('${target}/v1/status')),
        outcome(fetch('${target}/v1/pause', { method: 'POST', body, headers: { 'content-type': 'application/json' } })),
        outcome(fetch('${target}/v1/pause', { method: 'POST', body, mode: 'no-cors' })),
        new Promise((resolve) => {
          const image = new Image();
          image.onload = () => resolve('loaded');
          image.onerror = () => resolve('failed');
          image.src = '${target}/page/icon.svg';
        }),
      ]);
    </script>`;
  const server = createServer((_request, response) => {
    response.setHeader('content-type', 'text/html').end(html);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = (): Promise<unknown> => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return { port: (server.address() as AddressInfo).port, close };
}
