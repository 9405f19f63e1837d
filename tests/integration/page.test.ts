import type { Browser, Page } from 'playwright-core';
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
import { busyCalls, busyHistory, busyStatus } from '../support/page-scenes.js';
import { doAct, figureOf, textsOf, untilLive, untilShown, untilStale } from '../support/page-hands.js';
import { account, call, PageStandIn, quietStatus } from '../support/page-stand-in.js';
import { until } from '../support/until.js';

const withBrowser = describeWithBrowser("the operator's page in a real browser");

withBrowser("the operator's page", () => {
  let browser: Browser;
  let standIn: PageStandIn;
  let visits: Visit[];
  /** What a test expects to go wrong; everything else fails it. */
  let expected: RegExp | undefined;

  const open = async (options: Parameters<typeof visit>[2] = {}): Promise<Page> => {
    const opened = await visit(browser, standIn.url, options);
    visits.push(opened);
    return opened.page;
  };
  const openBoard = async (options: Parameters<typeof visit>[2] = {}): Promise<Page> => {
    const page = await open(options);
    await untilLive(page);
    return page;
  };

  beforeAll(async () => {
    browser = await openBrowser();
  });
  afterAll(() => browser.close());
  beforeEach(async () => {
    visits = [];
    expected = undefined;
    standIn = await PageStandIn.open();
    Object.assign(standIn, { status: busyStatus(), calls: busyCalls(), history: busyHistory() });
  });
  afterEach(async () => {
    const trouble = visits.flatMap((each) => each.trouble);
    for (const each of visits) await each.close();
    await standIn.close();
    expect(trouble.filter((text) => expected?.test(text) !== true)).toEqual([]);
  });

  it('says first how the proxy is, then what the doctor found, the gravest first', async () => {
    const page = await openBoard();
    await untilShown(
      page,
      '#verdict-text',
      'Ready, but bob’s breaker is open, alice is paused, reports is on cancel only, and the key doctor found 1 error.',
    );
    expect(await textsOf(page, '#board h2')).toEqual([
      'Health',
      'Findings',
      'Accounts',
      'The last hour',
      'The last 200 calls',
      'Acts',
    ]);
    expect(await textsOf(page, '#findings-list .severity')).toEqual(['Error', 'Warning', 'Note']);
    expect((await textsOf(page, '#findings-list li'))[0]).toMatch(
      /bob[^]*another program uses it[^]*What to do: stop/,
    );
    await untilShown(page, '#notes li', 'Kraken is online.');
    await untilShown(page, '#notes li', 'Paused: account alice, by ana');
    await untilShown(page, '#notes li', /bob: Kraken has locked this key out\..*tried again in 5 min 12 s/);

    await page.locator('.chart canvas').nth(3).waitFor();
    expect(await textsOf(page, '.chart h3')).toEqual([
      'Calls a second',
      'Errors a second',
      'Wait in the lane',
      "Kraken's time",
    ]);
    // Around midnight the highest was yesterday.
    for (const text of await textsOf(page, '.chart figcaption'))
      expect(text).toMatch(/^Mean: last minute .*, hour .*\. Highest .* at .*\d\d:\d\d:\d\d/);
    standIn.tick({ calls: 4_321 });
    await untilShown(page, '.chart figcaption', 'Highest 4,321/s');
  });

  it('says why the proxy is not ready, and says it aloud when that changes', async () => {
    const page = await openBoard();
    const reason = { reason: 'not-owner', detail: 'another process owns the nonce state' };
    standIn.status = { ...busyStatus(), ready: false, reasons: [reason], krakenStatus: 'maintenance' };
    await untilShown(page, '#verdict-text', 'Not ready: calls are not taken.');
    await untilShown(page, '#notes li', reason.detail);
    await untilShown(page, '#notes li', 'Kraken is in maintenance');
    await untilShown(page, '#announce', /Not ready.*another process owns the nonce state.*maintenance/);
    expect(await page.title()).toBe('Not ready · Kraken signing proxy');
  });

  it("shows each account's counters, floor, breaker and hold, and who waits", async () => {
    const page = await openBoard();
    const [master = '', alice = '', bob = ''] = await textsOf(page, '#account-list > li');
    expect(master).toMatch(/15\.4 of 20, falls 1\/s/);
    expect(alice).toMatch(/Paused by ana since .*: margin call, looking into it/);
    expect(alice).toMatch(/1 h ahead of the clock|59 min 5\d s ahead/);
    expect(bob).toMatch(/Kraken has locked this key out; next try in 5 min 12 s/);
    const gauge = page.getByRole('meter', { name: 'Call counter' }).first();
    expect(await gauge.getAttribute('aria-valuenow')).toBe('15.4');
    expect(await gauge.getAttribute('aria-valuemax')).toBe('20');
    const clients = await textsOf(page, '#client-rows th');
    expect(clients.slice(0, 3)).toEqual(['grid-bot', 'hedger', 'market-maker']);
    expect(clients[3]).toMatch(/^reports\s+On cancel only by ana since /);
    expect(await textsOf(page, '#client-rows td:nth-child(2)')).toEqual(['9', '6', '2', '0']);
    expect((await textsOf(page, '#lane-rows tr'))[0]).toMatch(/1 cancel, 4 order, 10 read, 2 history/);
    await untilShown(page, '#figures', '1795356896833004847');
    expect(await figureOf(page, 'Calls')).toBe(1_281_944);
    expect(await figureOf(page, 'Not sent')).toBe(211);

    standIn.status = { ...busyStatus(), accounts: [account('master', { waiting: 123 })] };
    await untilShown(page, '#account-list', '123');
    expect(await page.locator('#account-list > li').count()).toBe(1);
  });

  it('finds calls by what is in them, and by their outcome', async () => {
    const page = await openBoard();
    const rows = page.locator('#call-rows tr');
    await expect200(rows);
    await page.getByRole('searchbox', { name: 'Filter' }).fill('insufficient hedger');
    const found = await page.locator('#call-rows tr').allTextContents();
    expect(found.length).toBeGreaterThan(0);
    expect(found.every((text) => text.includes('EOrder:Insufficient funds') && text.includes('hedger'))).toBe(
      true,
    );
    await untilShown(page, '#calls-count', `${found.length} of 200 calls`);
    for (const word of [standIn.calls[7]?.nonce ?? '', standIn.calls[7]?.requestId ?? '']) {
      await page.getByRole('searchbox', { name: 'Filter' }).fill(word);
      expect(await rows.count()).toBe(1);
    }
    await page.getByRole('searchbox', { name: 'Filter' }).fill('');
    await page.getByLabel('Outcome').selectOption('not-sent');
    const notSent = standIn.calls.filter(({ outcome }) => outcome === 'not-sent').length;
    expect(await rows.count()).toBe(notSent);
    await page.getByRole('searchbox', { name: 'Filter' }).fill('nothing like it');
    await untilShown(page, '#calls-none', 'No call is like that.');
  });

  it('puts new calls on top, and holds still while somebody reads', async () => {
    const page = await openBoard();
    const first = page.locator('#call-rows tr').first();
    standIn.arrive([call({ requestId: 'new-1', txids: ['TXID-NEW-1'] })]);
    await untilShown(page, '#call-rows tr:first-child', 'TXID-NEW-1');
    await page.locator('#calls-box').hover();
    standIn.arrive([call({ requestId: 'new-2' })]);
    await untilShown(page, '#calls-count', 'held while you read: 1 new');
    expect(await first.textContent()).toContain('new-1');
    await page.mouse.move(5, 5);
    await untilShown(page, '#call-rows tr:first-child', 'new-2');
    expect(await page.locator('#call-rows tr').count()).toBe(200);
    standIn.tick({}, 4_800);
    await untilShown(page, '#calls-count', '4,800 more in the last second');
    await page.locator('#calls-box').focus();
    await page.locator('#calls-box[data-held]').waitFor();
  });

  it('does an act only with who and why, and where it is grave with a word typed; knows who next time', async () => {
    standIn.answers.set('/v1/pause', { status: 200, body: { holds: [] } });
    standIn.answers.set('/v1/startup-window/open', { status: 200, body: { open: true } });
    standIn.answers.set('/v1/stop', { status: 202, body: { stopping: true } });
    const page = await openBoard();
    await page.getByRole('button', { name: 'Pause account master…' }).click();
    const dialog = page.getByRole('dialog', { name: 'Pause' });
    await dialog.getByRole('button', { name: 'Pause' }).click();
    await dialog.getByLabel('Who you are').fill('ana');
    await dialog.getByLabel('Why').fill('   ');
    await dialog.getByRole('button', { name: 'Pause' }).click();
    expect(standIn.acts).toEqual([]);
    await dialog.getByLabel('Why').fill('prices look wrong');
    await dialog.getByRole('button', { name: 'Pause' }).click();
    await untilShown(page, '#toast[role=status]', 'Paused account master.');
    expect(standIn.acts).toEqual([
      {
        path: '/v1/pause',
        contentType: 'application/json',
        body: { account: 'master', who: 'ana', why: 'prices look wrong' },
      },
    ]);
    await page.getByRole('button', { name: 'Drop what hedger has waiting…' }).click();
    const drop = page.getByRole('dialog', { name: 'Drop a client' });
    expect(await drop.getByLabel('Who you are').inputValue()).toBe('ana');
    expect(await drop.getByLabel('Why').inputValue()).toBe('');
    expect(await drop.getByLabel('Client').inputValue()).toBe('hedger');
    await page.keyboard.press('Escape');

    await doAct(page, {
      button: 'Reopen startup window…',
      submit: 'Open the window',
      who: 'ana',
      why: 'drill',
    });
    await untilShown(page, '#toast', 'Reopened');
    await doAct(page, { button: 'Stop the proxy…', submit: 'Stop the proxy', who: 'ana', why: 'drill' });
    expect(standIn.acts.map(({ path }) => path)).toEqual(['/v1/pause', '/v1/startup-window/open']);
    await page.getByLabel('Type stop to go on').fill('stop');
    await page.getByRole('dialog').getByRole('button', { name: 'Stop the proxy' }).click();
    await untilShown(page, '#toast', 'The proxy is stopping.');
    expect(standIn.acts[2]?.body).toEqual({ who: 'ana', why: 'drill' });
  });

  it('shows within 3 s that nothing comes any more, though the connection stands', async () => {
    const page = await openBoard();
    standIn.silence();
    expect(await untilStale(page)).toBeLessThan(3_000);
    standIn.speak();
    await untilShown(page, '#connection', 'Live');
  });

  it("takes Kraken's and clients' texts as texts", async () => {
    const evil = '<img src=x onerror=alert(1)><script>alert(2)</script>';
    const status = busyStatus();
    standIn.status = {
      ...status,
      findings: [{ ...(status.findings[0] ?? fail()), text: evil, fix: evil, account: evil }],
      clients: [{ name: evil, waiting: 1, hold: null }],
      config: { ...status.config, warnings: [evil] },
    };
    standIn.calls = [call({ client: evil, krakenError: evil, reason: evil })];
    const page = await openBoard();
    for (const place of ['#findings-list', '#client-rows', '#notes', '#call-rows'])
      await untilShown(page, place, evil);
    expect(await page.locator('main img, main script').count()).toBe(0);
  });

  it('reaches everything by keyboard, and comes back from a dialog to where it was', async () => {
    const page = await openBoard();
    const all = await page.evaluate(
      `[...document.querySelectorAll('a[href], button, input, select, [tabindex="0"]')].filter((e) => e.checkVisibility()).length`,
    );
    const reached = new Set<string>();
    const who = `(() => { const e = document.activeElement; if (e === document.body) return ''; const all = [...document.querySelectorAll('*')];
      const { outlineStyle } = getComputedStyle(e); return all.indexOf(e) + ' ' + outlineStyle; })()`;
    for (let press = 0; press < 80; press++) {
      await page.keyboard.press('Tab');
      const at = String(await page.evaluate(who));
      if (at === '' || reached.has(at)) break;
      expect(at).not.toContain('none'); // the focus can be seen
      reached.add(at);
    }
    expect(reached.size).toBe(all);

    const button = page.getByRole('button', { name: 'Stop the proxy…' });
    await button.focus();
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').waitFor();
    expect(await page.evaluate('document.activeElement.name')).toBe('who');
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'hidden' });
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Stop the proxy…');
  });

  it('keeps the theme that was chosen, against the system’s', async () => {
    expected = /ERR_ABORTED/; // the stream, by the reload
    const page = await openBoard({ scheme: 'light' });
    const ground = (): Promise<string> => page.evaluate('getComputedStyle(document.body).backgroundColor');
    const light = await ground();
    const button = page.getByRole('button', { name: /^Theme/ });
    await button.click();
    expect(await ground()).toBe(light);
    await button.click();
    expect(await button.innerText()).toBe('Theme: Dark');
    const dark = await ground();
    expect(dark).not.toBe(light);
    await page.reload();
    await untilShown(page, '#connection', 'Live');
    expect(await ground()).toBe(dark);
  });

  it('is a page also for a proxy that has nothing to tell', async () => {
    Object.assign(standIn, { status: quietStatus(), calls: [] });
    const page = await openBoard();
    await untilShown(page, '#verdict-text', 'Ready: calls are taken and sent.');
    await untilShown(page, '#findings-none', 'Nothing is known to be wrong with the keys.');
    await untilShown(page, '#calls-none', 'No calls yet.');
    await keepScreenshot(page, 'quiet-wide-light');
  });

  it('nothing serious stands in the way of anybody, in a dialog neither', async () => {
    standIn.calls = busyCalls(30); // axe looks at every cell
    const page = await openBoard();
    await page.locator('.chart canvas').first().waitFor();
    for (const [screen, scheme] of [
      ['wide', 'light'],
      ['phone', 'dark'],
    ] as const) {
      await showOn(page, screen, scheme);
      await keepScreenshot(page, `board-${screen}-${scheme}`);
      expect(await sidewaysScroll(page)).toBe(0);
      expect(await seriousViolations(page)).toEqual([]);
      await page.getByRole('button', { name: 'Pause account master…' }).click();
      await page.getByRole('dialog').waitFor();
      await keepScreenshot(page, `dialog-${screen}-${scheme}`, false);
      expect(await sidewaysScroll(page)).toBe(0);
      expect(await seriousViolations(page)).toEqual([]);
      await page.keyboard.press('Escape');
    }
  });

  it('takes events apart whatever the borders of their chunks, and lets go of them when it is closed', async () => {
    const page = await openBoard();
    const found = await page.evaluate(`(async () => {
      const { EventParser } = await import('/page/event-stream.js');
      const text = '\\uFEFFevent: tick\\r\\ndata: {"a":\\r\\ndata: 1}\\r\\n\\r\\n: beat\\n\\ndata:two\\r\\rid: 7\\nevent: odd\\n\\ndata: three\\n\\ndata: never';
      const wanted = JSON.stringify([{ event: 'tick', data: '{"a":\\n1}' }, { event: 'message', data: 'two' }, { event: 'message', data: 'three' }]);
      const wrong = [];
      for (let one = 0; one <= text.length; one++) {
        for (let two = one; two <= text.length; two++) {
          const parser = new EventParser();
          const events = [text.slice(0, one), text.slice(one, two), text.slice(two)].flatMap((chunk) => parser.push(chunk));
          if (JSON.stringify(events) !== wanted) wrong.push([one, two, events]);
        }
      }
      return wrong;
    })()`);
    expect(found).toEqual([]);

    expect(standIn.listeners).toBe(1);
    await page.close();
    await until(() => standIn.listeners === 0);
  });
});

async function expect200(rows: { count(): Promise<number> }): Promise<void> {
  await until(async () => (await rows.count()) === 200);
}

function fail(): never {
  throw new Error('the scene has no findings');
}
