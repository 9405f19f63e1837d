import { openApi, type Operation } from '../../src/http/openapi.js';
import { createOps } from '../../src/http/ops.js';
import { ActRefused } from '../../src/operator/act-refused.js';
import { RawConnection } from '../support/raw-socket.js';
import { misfits } from '../support/operator-schema.js';
import { FakeControls, openOperatorWorld, type OperatorWorld } from '../support/operator-world.js';
import { until } from '../support/until.js';

const DOCUMENT = openApi('0.0.0-test');
const ADDRESS = '127.0.0.1';
const BY = { who: 'ana', why: 'Kraken refuses us', address: ADDRESS };

let world: OperatorWorld;
beforeEach(async () => {
  world = await openOperatorWorld();
});
afterEach(() => world.close());

function operationOf(method: string, path: string): Operation {
  const operation = DOCUMENT.paths[path]?.[method.toLowerCase() as 'get' | 'post'];
  if (operation === undefined) throw new Error(`${method} ${path} is not in the document`);
  return operation;
}

/** Where an answer does not fit what the document says of it. */
function unlike(method: string, path: string, status: number, json: unknown): string[] {
  const schema = operationOf(method, path).responses[String(status)]?.content['application/json']?.schema;
  return schema === undefined ? [`${status} is not in the document`] : misfits(DOCUMENT, schema, json);
}

describe('reading', () => {
  it.each([
    ['/healthz', { status: 'alive' }],
    [
      '/readyz',
      {
        status: 'ready',
        reasons: [],
        findings: [
          { account: 'alice', code: 'key-expiring', severity: 'warning', text: 'the key ends in 3 days' },
        ],
      },
    ],
    ['/v1/status', { version: '0.0.0-test', accounts: [{ name: 'alice' }], startupWindow: { open: true } }],
    [
      '/v1/calls',
      {
        calls: [
          { requestId: '2', txids: ['OABC'] },
          { requestId: '1', nonce: null },
        ],
      },
    ],
    ['/v1/history', { seconds: 3_600 }],
    ['/v1/startup-window', { open: true }],
    ['/v1/openapi.json', { openapi: '3.1.0', info: { version: '0.0.0-test' } }],
  ])('%s answers as the document says', async (path, expected) => {
    const { status, json } = await world.ask('GET', path);
    expect(status).toBe(200);
    expect(json).toMatchObject(expected);
    expect(unlike('GET', path, status, json)).toEqual([]);
  });

  it('/metrics is the text of the metrics', async () => {
    const { headers, text } = await world.ask('GET', '/metrics');
    expect([headers['content-type'], text]).toEqual(['text/plain; version=0.0.4', 'up 1\n']);
  });

  it('/readyz is 503 for reasons, and not for findings', async () => {
    const notReady = (): { reason: string; detail: string }[] => [{ reason: 'standby', detail: 'waits' }];
    const waiting = await openOperatorWorld({ notReady });
    const { status, json } = await waiting.ask('GET', '/readyz');
    expect(status).toBe(503);
    expect(json).toMatchObject({ status: 'not ready', reasons: [{ reason: 'standby' }], findings: [{}] });
    expect(unlike('GET', '/readyz', status, json)).toEqual([]);
    await waiting.close();
  });

  it('/readyz tells the words of a finding on loopback only', async () => {
    const finding = { account: 'alice', code: 'key-expiring', severity: 'warning' };
    const text = 'the key ends in 3 days';
    expect((await world.ask('GET', '/readyz')).json).toMatchObject({ findings: [{ ...finding, text }] });
    const beyond = await openOperatorWorld({ onLoopback: false, token: 'correct-horse-battery-staple' });
    const { json } = await beyond.ask('GET', '/readyz');
    expect(json).toEqual({ status: 'ready', reasons: [], held: [], findings: [finding] });
    await beyond.close();
  });

  it('/v1/calls gives as many as asked for, newest first', async () => {
    const { json } = await world.ask('GET', '/v1/calls?limit=1');
    expect((json as { calls: { requestId: string }[] }).calls.map(({ requestId }) => requestId)).toEqual([
      '2',
    ]);
  });

  it.each(['0', '201', '-1', '1.5', '', 'all', '1e2', '%31%3B'])(
    'a limit of %j is refused',
    async (limit) => {
      const { status, json } = await world.ask('GET', `/v1/calls?limit=${limit}`);
      expect(status).toBe(400);
      expect(unlike('GET', '/v1/calls', status, json)).toEqual([]);
    },
  );

  it('HEAD is answered like GET, without a body', async () => {
    const { status, text } = await world.ask('HEAD', '/v1/status');
    expect([status, text]).toEqual([200, '']);
  });

  it('a read that fails is a bug: 500, without its text, which the log gets', async () => {
    world.controls.broken = new Error('nobody is to read this');
    const { status, text, json } = await world.ask('GET', '/v1/status');
    expect([status, json]).toEqual([500, { error: { code: 'internal', message: 'a bug; see the log' } }]);
    expect(text).not.toContain('nobody');
    expect(unlike('GET', '/v1/status', status, json)).toEqual([]);
    expect(world.failed).toEqual([world.controls.broken]);
  });

  it.each([
    ['GET', '/'],
    ['GET', '/v1'],
    ['GET', '/v1/'],
    ['GET', '/v1/statuses'],
    ['GET', '/V1/status'],
    ['GET', '//v1/status'],
    ['POST', '/v1/status'],
    ['GET', '/v1/pause'],
    ['PUT', '/v1/pause'],
    ['DELETE', '/v1/status'],
    ['OPTIONS', '/v1/pause'],
    ['POST', '/metrics'],
  ])('%s %s is not there', async (method, path) => {
    const { status, code } = await world.ask(method, path, {
      headers: { 'content-type': 'application/json' },
    });
    expect([status, code]).toEqual([404, 'not-found']);
    expect(world.acted).toEqual([]);
  });

  it('every answer is not to be kept, guessed at, or built into other pages', async () => {
    const headers = { origin: 'https://evil.example' };
    const answers = [
      await world.ask('GET', '/v1/status'),
      await world.ask('GET', '/v1/openapi.json'),
      await world.ask('GET', '/v1/nothing'),
      await world.ask('GET', '/v1/status', { headers }),
      await world.ask('POST', '/v1/pause'),
      await world.act('pause'),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 404, 403, 415, 200]);
    for (const answer of answers) {
      expect(answer.headers).toMatchObject({
        'cache-control': 'no-store',
        'x-content-type-options': 'nosniff',
        'cross-origin-resource-policy': 'same-origin',
      });
    }
  });
});

describe('the page', () => {
  it('is served where nobody else answers, with its own headers over ours', async () => {
    const own = await openOperatorWorld({
      page: (path, ifNoneMatch) =>
        ifNoneMatch === '"1"'
          ? { status: 304, headers: {}, body: Buffer.alloc(0) }
          : {
              '/': { headers: { 'Content-Type': 'text/html', 'Cache-Control': 'no-cache' }, body: '<html>' },
              '/app.js': {
                status: 203,
                headers: { 'content-type': 'text/javascript' },
                body: Buffer.from('1;'),
              },
            }[path],
    });
    const page = await own.ask('GET', '/?a=b');
    expect([page.status, page.text, page.headers['content-type']]).toEqual([200, '<html>', 'text/html']);
    expect(page.headers).toMatchObject({ 'cache-control': 'no-cache', 'x-content-type-options': 'nosniff' });
    const script = await own.ask('GET', '/app.js');
    expect([script.status, script.text]).toEqual([203, '1;']);
    expect((await own.ask('HEAD', '/')).status).toBe(200);
    const headers = { 'if-none-match': '"1"' };
    expect(await own.ask('GET', '/', { headers })).toMatchObject({ status: 304, text: '' });
    expect((await own.ask('POST', '/')).status).toBe(404);
    expect((await own.ask('GET', '/app.css')).code).toBe('not-found');
    await own.close();
  });
});

interface Case {
  readonly act: string;
  readonly fields?: Readonly<Record<string, string>>;
  readonly answer: object;
  /** What the journal gets beside name and signature. */
  readonly kept: object;
}

const HOLDS = { holds: [{ who: 'ana', why: 'Kraken refuses us' }] };
const CASES: readonly Case[] = [
  { act: 'pause', answer: HOLDS, kept: { target: 'everything' } },
  { act: 'pause', fields: { account: 'alice' }, answer: HOLDS, kept: { target: 'account alice' } },
  { act: 'cancel-only', fields: { client: 'bot' }, answer: HOLDS, kept: { target: 'client bot' } },
  { act: 'resume', answer: { holds: [] }, kept: { target: 'everything' } },
  {
    ...{ act: 'drop', fields: { client: 'bot' }, answer: { dropped: 3 } },
    kept: { target: 'client bot', detail: { dropped: 3 } },
  },
  {
    ...{ act: 'drop', fields: { client: 'bot', account: 'alice' }, answer: { dropped: 3 } },
    kept: { target: 'client bot, account alice', detail: { dropped: 3 } },
  },
  { act: 'startup-window/close', answer: { open: false }, kept: {} },
  { act: 'startup-window/open', answer: { open: true }, kept: {} },
  {
    ...{ act: 'nonce-jump/plan', answer: { plan: 'p-1' } },
    kept: {
      target: 'everything',
      detail: { plan: 'p-1', from: '1795000000000000001', to: '1795003600000000001' },
    },
  },
  {
    ...{ act: 'nonce-jump/plan', fields: { account: 'alice', distance: '1h' }, answer: { plan: 'p-1' } },
    kept: {
      target: 'account alice',
      detail: { distance: '1h', plan: 'p-1', from: '1795000000000000001', to: '1795003600000000001' },
    },
  },
  {
    ...{ act: 'nonce-jump/apply', fields: { plan: 'p-1' }, answer: { floor: '1795003600000000001' } },
    kept: { detail: { plan: 'p-1', floor: '1795003600000000001' } },
  },
  {
    ...{ act: 'reload', answer: { changed: ['clients.grid-bot.allow'] } },
    kept: { detail: { changed: ['clients.grid-bot.allow'], needsRestart: ['listen.port'] } },
  },
  { act: 'doctor', answer: { findings: [{ account: 'alice' }] }, kept: {} },
  { act: 'stop', answer: { stopping: true }, kept: {} },
];

describe('an act', () => {
  it.each(CASES)('$act with $fields is done, answered as the document says, and kept', async (asked) => {
    const { act, fields = {}, answer, kept } = asked;
    const { status, json } = await world.act(act, fields);
    expect(status).toBe(act === 'stop' ? 202 : 200);
    expect(json).toMatchObject(answer);
    expect(unlike('POST', `/v1/${act}`, status, json)).toEqual([]);
    expect(world.controls.told).toEqual([{ act, what: fields, by: BY }]);
    expect(world.acted).toEqual([{ act, ...BY, ...kept, result: 'done' }]);
  });

  it.each(['not-found', 'conflict', 'bad-request', 'unavailable'] as const)(
    'that is refused as %s says why, and is kept as refused',
    async (code) => {
      world.controls.trouble = new ActRefused(code, 'the reason');
      const { status, json } = await world.act('pause', { account: 'alice' });
      expect(json).toEqual({ error: { code, message: 'the reason' } });
      expect(unlike('POST', '/v1/pause', status, json)).toEqual([]);
      expect(world.acted).toEqual([
        { act: 'pause', ...BY, target: 'account alice', detail: { reason: 'the reason' }, result: 'refused' },
      ]);
      expect(world.failed).toEqual([]);
    },
  );

  it('that fails is a bug: 500 without its text, kept as failed', async () => {
    world.controls.trouble = new Error('nobody is to read this');
    const { status, text } = await world.act('reload');
    expect(status).toBe(500);
    expect(text).not.toContain('nobody');
    expect(world.acted).toEqual([{ act: 'reload', ...BY, result: 'failed' }]);
    expect(world.failed).toHaveLength(1);
  });

  it('that is not understood is kept as refused, with who where it says so', async () => {
    await world.act('pause', { hours: '1' });
    await world.ask('POST', '/v1/pause', { headers: { 'content-type': 'application/json' }, body: '[]' });
    expect(world.acted).toMatchObject([
      { act: 'pause', who: 'ana', why: BY.why, address: ADDRESS, result: 'refused' },
      { act: 'pause', who: 'unknown', why: '', address: ADDRESS, result: 'refused' },
    ]);
  });

  it('whose sender goes away in the middle of its body is no act', async () => {
    const connection = await RawConnection.open(world.url);
    const head = 'POST /v1/stop HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n';
    connection.write(`${head}Content-Length: 100\r\n\r\n{"who":"ana"`);
    await world.ask('GET', '/v1/status'); // by now the first bytes are there
    connection.hangUp();
    await connection.closed;
    expect((await world.act('resume')).status).toBe(200);
    await until(() => world.acted.length > 0);
    expect(world.acted.map(({ act }) => act)).toEqual(['resume']);
    expect(world.controls.told.map(({ act }) => act)).toEqual(['resume']);
  });

  it.each<[string, Record<string, unknown>, string]>([
    ['no who', { who: undefined }, 'who'],
    ['no why', { why: undefined }, 'why'],
    ['an empty who', { who: '' }, 'who'],
    ['a why of blanks', { why: ' \t\u00a0 ' }, 'why'],
    ['a who that is a number', { who: 7 }, 'who'],
    ['a why that is a list', { why: ['x'] }, 'why'],
    ['a who of 201 characters', { who: 'a'.repeat(201) }, 'who'],
    ['a line end in why', { why: 'a\nb' }, 'why'],
    ['an escape sequence in who', { who: 'a\u001b[2Jb' }, 'who'],
    ['a mark that turns text around', { who: 'a\u202eb' }, 'who'],
    ['a line separator', { why: 'a\u2028b' }, 'why'],
    ['a NUL', { why: 'a\u0000' }, 'why'],
    ['half a surrogate pair', { why: 'a\ud800b' }, 'why'],
    ['an unknown field', { hours: 1 }, 'no more'],
    ['a field of another act', { plan: 'p-1' }, 'no more'],
    ['__proto__', { ['__proto__']: {} }, 'no more'],
    ['an account that is no name', { account: 'a b' }, 'account'],
    ['an account of 65 characters', { account: 'a'.repeat(65) }, 'account'],
    ['an account that is null', { account: null }, 'account'],
    ['an empty client', { client: '' }, 'client'],
    ['an account and a client', { account: 'alice', client: 'bot' }, 'not both'],
  ])('with %s is refused', async (name, fields, expected) => {
    const body =
      name === '__proto__'
        ? '{"who":"ana","why":"w","__proto__":{"account":"alice"}}'
        : JSON.stringify({ who: 'ana', why: 'w', ...fields });
    const headers = { 'content-type': 'application/json' };
    const { status, json } = await world.ask('POST', '/v1/pause', { headers, body });
    expect([status, json]).toEqual([
      400,
      { error: { code: 'bad-request', message: expect.stringContaining(expected) as string } },
    ]);
    expect(unlike('POST', '/v1/pause', status, json)).toEqual([]);
    expect(world.controls.told).toEqual([]);
    expect(world.acted).toMatchObject([{ result: 'refused' }]);
  });

  it.each([
    ['drop', {}],
    ['drop', { account: 'alice' }],
    ['nonce-jump/apply', {}],
    ['nonce-jump/apply', { plan: '../../etc' }],
    ['nonce-jump/plan', { distance: '0h' }],
    ['nonce-jump/plan', { distance: '1 h' }],
    ['nonce-jump/plan', { distance: '1y' }],
    ['nonce-jump/plan', { distance: 3600 }],
    ['reload', { account: 'alice' }],
    ['stop', { client: 'bot' }],
  ])('%s with %j is refused', async (act, fields) => {
    expect((await world.act(act, fields)).code).toBe('bad-request');
    expect(world.controls.told).toEqual([]);
  });

  it('is by whom and why it says, trimmed, in any script', async () => {
    await world.act('pause', { who: '  Aña Ünal  ', why: '維持 — 50 % 🙂' });
    expect(world.acted).toMatchObject([{ who: 'Aña Ünal', why: '維持 — 50 % 🙂' }]);
  });

  it.each([
    ['nothing', ''],
    ['no JSON', '{"who":"ana",'],
    ['a list', '[1]'],
    ['null', 'null'],
    ['a text', '"pause"'],
    ['a form', 'who=ana&why=w'],
    ['bytes that are not UTF-8', Buffer.from('{"who":"\xff","why":"w"}', 'latin1')],
  ])('with %s for a body is refused', async (_, body) => {
    const headers = { 'content-type': 'application/json' };
    expect((await world.ask('POST', '/v1/pause', { headers, body })).code).toBe('bad-request');
    expect(world.controls.told).toEqual([]);
  });

  it.each([
    undefined,
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'text/plain; application/json',
    'application/json, text/plain',
    'application/json; charset=utf-16',
    'application/jsonp',
    'application/problem+json',
  ])('of Content-Type %s is refused', async (type) => {
    const headers = type === undefined ? {} : { 'content-type': type };
    const body = '{"who":"ana","why":"w"}';
    const { status, json, code } = await world.ask('POST', '/v1/pause', { headers, body });
    expect([status, code]).toEqual([415, 'unsupported']);
    expect(unlike('POST', '/v1/pause', status, json)).toEqual([]);
    expect(world.controls.told).toEqual([]);
  });

  it.each(['application/json; charset=utf-8', 'Application/JSON;charset="UTF-8"'])(
    'of Content-Type %s is done',
    async (type) => {
      expect((await world.act('pause', {}, { headers: { 'content-type': type } })).status).toBe(200);
    },
  );

  it('of more than 16 KiB is refused, whether it says so before or not', async () => {
    const body = JSON.stringify({ who: 'ana', why: 'w', account: 'a'.repeat(16_384) });
    const said = await world.ask('POST', '/v1/pause', {
      headers: { 'content-type': 'application/json' },
      body,
    });
    expect([said.status, said.code]).toEqual([413, 'too-large']);
    expect(unlike('POST', '/v1/pause', said.status, said.json)).toEqual([]);
    const headers = { 'content-type': 'application/json', 'transfer-encoding': 'chunked' };
    expect((await world.ask('POST', '/v1/pause', { headers, body })).status).toBe(413);
    expect(world.controls.told).toEqual([]);
  });

  it('that is encoded is refused', async () => {
    const { code } = await world.act('pause', {}, { headers: { 'content-encoding': 'gzip' } });
    expect(code).toBe('bad-request');
  });
});

describe('the document', () => {
  it('has every route, and no other', () => {
    const nothing = (): undefined => undefined;
    const { app } = createOps({
      ...{
        hosts: [],
        onLoopback: true,
        token: nothing,
        notReady: () => [],
        held: () => [],
        findings: () => [],
      },
      ...{ metrics: () => Promise.reject(new Error()), version: '', controls: new FakeControls() },
      ...{ page: nothing, refused: nothing, badToken: nothing, acted: nothing, failed: nothing },
    });
    const routes = app.routes
      .filter(({ method }) => method !== 'ALL')
      .map(({ method, path }) => `${method} ${path}`);
    const documented = Object.entries(DOCUMENT.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(documented.sort()).toEqual(routes.sort());
    expect(new Set(routes).size).toBe(routes.length);
  });

  it('asks for exactly the fields that the acts take', () => {
    const signature = { who: 'ana', why: 'w' };
    const held = ['pause', 'cancel-only', 'resume'];
    for (const { act, fields = {} } of CASES) {
      const schema = operationOf('POST', `/v1/${act}`).requestBody?.content['application/json'].schema ?? {};
      const fit = misfits(DOCUMENT, schema, { ...fields, ...signature });
      expect({ act, fit }).toEqual({ act, fit: [] });
      expect(misfits(DOCUMENT, schema, { ...fields, ...signature, hours: 1 })).toEqual(['$.hours: unknown']);
      expect(schema.required).toEqual(expect.arrayContaining(['who', 'why']));
      const tried = CASES.filter((other) => other.act === act).flatMap((other) =>
        Object.keys(other.fields ?? {}),
      );
      const taken = new Set([...tried, ...(held.includes(act) ? ['account', 'client'] : []), 'who', 'why']);
      expect({ act, fields: Object.keys(schema.properties ?? {}).sort() }).toEqual({
        act,
        fields: [...taken].sort(),
      });
    }
  });

  it('points to nothing that is not there, and leaves nothing unused', () => {
    const text = JSON.stringify(DOCUMENT);
    const used = new Set([...text.matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name));
    expect([...used].sort()).toEqual(Object.keys(DOCUMENT.components.schemas).sort());
  });

  it('asks for the token everywhere but where none is needed', () => {
    const open = Object.entries(DOCUMENT.paths)
      .filter(([, { get, post }]) => [get, post].some((each) => each?.security.length === 0))
      .map(([path]) => path);
    expect(open).toEqual(['/healthz', '/readyz', '/metrics']);
  });
});
