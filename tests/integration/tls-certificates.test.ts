import type { RequestListener } from 'node:http';
import { mkdirSync, renameSync, symlinkSync, unlinkSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { Listener } from '../../src/http/listener.js';
import { CertificateError } from '../../src/http/tls-certificates.js';
import type { TlsOptions } from '../../src/http/tls-server.js';
import { peerSubject } from '../../src/http/tls.js';
import { TestAuthority, type Pair } from '../support/certificates.js';
import { Http2Client } from '../support/http2-client.js';
import { RawConnection, requestText, talk } from '../support/raw-socket.js';
import { CertificateFolder } from '../support/tls-world.js';
import { until } from '../support/until.js';

const HOST = '127.0.0.1';
const HOUR_MS = 3_600_000;
const authority = new TestAuthority();
const stranger = new TestAuthority('Stranger CA');
const first = authority.server('first');
const second = authority.server('second');
const bot = authority.client([
  ['C', 'CH'],
  ['O', 'Example Trading'],
  ['OU', 'bots'],
  ['OU', 'grid'],
  ['CN', 'grid-bot'],
]);
const BOT = { C: 'CH', O: 'Example Trading', CN: 'grid-bot' };

let files: CertificateFolder;
let listener: Listener | undefined;
let reloads: (Error | undefined)[];
/** Requests whose answer is up to the test. */
let waiting: Parameters<RequestListener>[];
let agents: Agent[];
let now: number | undefined;

beforeEach(() => {
  files = new CertificateFolder(first, authority.cert);
  [reloads, waiting, agents, now] = [[], [], [], undefined];
});
afterEach(async () => {
  for (const agent of agents) agent.destroy();
  await listener?.close(1_000);
  listener = undefined;
  files.remove();
});

/** Answers with what it knows of its caller. */
const serve: RequestListener = (incoming, outgoing) => {
  if (incoming.url === '/wait') waiting.push([incoming, outgoing]);
  else
    incoming
      .resume()
      .on('end', () => outgoing.end(JSON.stringify(peerSubject(incoming.socket, now) ?? null)));
};

async function open(options: Partial<TlsOptions> = {}): Promise<string> {
  listener = await Listener.open(serve, {
    host: HOST,
    port: 0,
    requestTimeoutMs: 10_000,
    tls: {
      certFile: files.path('cert.pem'),
      keyFile: files.path('key.pem'),
      onReload: (error) => reloads.push(error),
      ...options,
    },
  });
  return listener.url;
}

const openForClients = (): Promise<string> => open({ clientCaFile: files.path('ca.pem') });

function newAgent(options: ConnectionOptions = {}): Agent {
  const agent = new Agent({ keepAlive: true, maxSockets: 1, ca: authority.cert, ...options });
  agents.push(agent);
  return agent;
}

interface Answer {
  readonly body: string;
  readonly resumed: boolean;
  readonly connection: string | undefined;
  /** Of the server. */
  readonly commonName: unknown;
}

function call(url: string, agent: Agent, path = '/'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url);
    const req = request({ hostname, port, path, agent, method: 'POST' }, (res) => {
      const { socket } = res as { readonly socket: unknown } as { readonly socket: TLSSocket };
      const resumed = socket.isSessionReused();
      const commonName = resumed ? undefined : socket.getPeerCertificate().subject.CN;
      let body = '';
      res.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
      res.on('error', reject);
      res.on('end', () => resolve({ body, resumed, connection: res.headers.connection, commonName }));
    });
    req.on('error', reject).end();
  });
}

async function subjectOver1(url: string, options: ConnectionOptions): Promise<unknown> {
  return JSON.parse((await call(url, newAgent(options))).body);
}

async function subjectOver2(url: string, options: ConnectionOptions): Promise<unknown> {
  const client = await Http2Client.open(url, { ca: authority.cert, ...options });
  const { json } = await client.raw('POST', '/');
  await client.close();
  return json;
}

/** What a new connection is shown. */
async function shown(url: string): Promise<unknown> {
  return (await call(url, newAgent())).commonName;
}

describe.each([
  ['HTTP/1.1', subjectOver1],
  ['HTTP/2', subjectOver2],
])('the subject of a client certificate, over %s', (_, subject) => {
  it('is known when the CA vouches for it; what occurs twice in it is left out', async () => {
    expect(await subject(await openForClients(), bot)).toEqual(BOT);
  });

  it('is known in TLS 1.2, too', async () => {
    expect(await subject(await openForClients(), { ...bot, maxVersion: 'TLSv1.2' })).toEqual(BOT);
  });

  it.each<[string, Partial<Pair>]>([
    ['there is no certificate', {}],
    ['an unknown CA made it', stranger.client('grid-bot')],
    ['it has expired', authority.client('grid-bot', { validTo: new Date(Date.now() - HOUR_MS) })],
    ['it is not yet valid', authority.client('grid-bot', { validFrom: new Date(Date.now() + HOUR_MS) })],
    ['it is a server’s', authority.server('grid-bot')],
  ])('is unknown when %s; the connection is served', async (__, pair) => {
    const url = await openForClients();
    expect(await subject(url, pair)).toBeNull();
    expect(await subject(url, { ...pair, maxVersion: 'TLSv1.2' })).toBeNull();
  });

  it('is not asked for without a client CA', async () => {
    expect(await subject(await open(), bot)).toBeNull();
  });
});

it('a caller of plain HTTP has no subject', async () => {
  listener = await Listener.open(serve, { host: HOST, port: 0, requestTimeoutMs: 1_000 });
  const { url } = listener;
  expect((await talk(url, requestText(url, 'POST', '/')))?.body.toString()).toBe('null');
});

it('the subject is gone once the certificate has expired, on a connection that was there before', async () => {
  const url = await openForClients();
  const agent = newAgent(authority.client('grid-bot', { validTo: new Date(Date.now() + HOUR_MS) }));
  expect(JSON.parse((await call(url, agent)).body)).toEqual({ CN: 'grid-bot' });
  now = Date.now() + HOUR_MS;
  expect((await call(url, agent)).body).toBe('null');
});

describe.each(['TLSv1.2', 'TLSv1.3'] as const)('a session resumed in %s', (version) => {
  /** Opens a connection, keeps its session, and gives what a second one with it is answered. */
  async function resume(url: string, pair: Partial<Pair>, between?: () => Promise<void>): Promise<Answer> {
    const options = { ca: authority.cert, ...pair, minVersion: version, maxVersion: version };
    const { hostname, port } = new URL(url);
    const socket = connect({ host: hostname, port: Number(port), ...options });
    const session = new Promise<Buffer>((resolve) => socket.once('session', resolve));
    socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n');
    socket.resume();
    const kept = await session;
    socket.destroy();
    await between?.();
    return call(url, newAgent({ ...options, session: kept }));
  }

  it('has the subject of the first', async () => {
    const { body, resumed } = await resume(await openForClients(), bot);
    expect(resumed).toBe(true);
    expect(JSON.parse(body)).toEqual(BOT);
  });

  it('has none when the first had none', async () => {
    const url = await openForClients();
    expect((await resume(url, {})).body).toBe('null');
    expect((await resume(url, stranger.client('grid-bot'))).body).toBe('null');
  });

  it('is not resumed once the client CA is another, and has no subject', async () => {
    const { body, resumed } = await resume(await openForClients(), bot, async () => {
      files.write('ca.pem', stranger.cert);
      await listener?.checkCertificates();
    });
    expect([resumed, body]).toEqual([false, 'null']);
  });
});

describe('certificates that change', () => {
  it.each<[string, () => void]>([
    [
      'are written in place',
      () => {
        files.write('cert.pem', second.cert);
        files.write('key.pem', second.key);
      },
    ],
    [
      'are renamed into place',
      () => {
        files.write('cert.new', second.cert);
        files.write('key.new', second.key);
        renameSync(files.path('cert.new'), files.path('cert.pem'));
        renameSync(files.path('key.new'), files.path('key.pem'));
      },
    ],
  ])('are in force for new connections when they %s', async (_, change) => {
    const url = await open();
    expect(await shown(url)).toBe('first');
    change();
    await listener?.checkCertificates();
    expect(reloads).toEqual([undefined]);
    expect(await shown(url)).toBe('second');
  });

  it('are in force when the folder they are in is swapped by a symlink, as Kubernetes does', async () => {
    const [old, fresh] = [new CertificateFolder(first), new CertificateFolder(second)];
    symlinkSync(old.folder, files.path('..data'));
    for (const name of ['cert.pem', 'key.pem']) {
      unlinkSync(files.path(name));
      symlinkSync(`..data/${name}`, files.path(name));
    }
    const url = await open();
    symlinkSync(fresh.folder, files.path('..data_tmp'));
    renameSync(files.path('..data_tmp'), files.path('..data'));
    old.remove();
    await listener?.checkCertificates();
    expect(reloads).toEqual([undefined]);
    expect(await shown(url)).toBe('second');
    fresh.remove();
  });

  it('are noticed without being asked', async () => {
    const url = await open();
    files.write('cert.pem', second.cert);
    files.write('key.pem', second.key);
    await until(() => reloads.length > 0);
    expect(await shown(url)).toBe('second');
  });

  it('are told of no more than once, and not when they are the same', async () => {
    await open();
    await listener?.checkCertificates();
    files.write('cert.pem', first.cert);
    await listener?.checkCertificates();
    expect(reloads).toEqual([]);
    files.write('cert.pem', second.cert);
    await Promise.all([listener?.checkCertificates(), listener?.checkCertificates()]);
    await listener?.checkCertificates();
    expect(reloads).toHaveLength(1);
  });

  it('written one after the other: the former pair stays until the second is there', async () => {
    const url = await open();
    files.write('cert.pem', second.cert);
    await listener?.checkCertificates();
    expect(reloads).toEqual([expect.any(CertificateError)]);
    expect(reloads[0]?.message).toContain('is not that of the certificate');
    expect(await shown(url)).toBe('first');
    files.write('key.pem', second.key);
    await listener?.checkCertificates();
    expect(reloads.slice(1)).toEqual([undefined]);
    expect(await shown(url)).toBe('second');
  });

  it.each<[string, () => void, string]>([
    ['a file that is gone', () => unlinkSync(files.path('key.pem')), 'ENOENT'],
    ['an empty file', () => files.write('cert.pem', ''), 'no certificate'],
    ['half a file', () => files.write('cert.pem', second.cert.slice(0, 300)), 'no certificate'],
  ])(
    'to %s leave the former ones in force, and are well again when they are back',
    async (_, damage, words) => {
      const url = await open();
      damage();
      await listener?.checkCertificates();
      await listener?.checkCertificates();
      expect(reloads.map((error) => error?.message)).toEqual([expect.stringContaining(words)]);
      expect(await shown(url)).toBe('first');
      files.write('cert.pem', first.cert);
      files.write('key.pem', first.key);
      await listener?.checkCertificates();
      expect(reloads.slice(1)).toEqual([undefined]);
      expect(await shown(url)).toBe('first');
    },
  );

  it('leave calls under way and connections alone', async () => {
    const url = await open();
    const agent = newAgent();
    const client = await Http2Client.open(url, { ca: authority.cert });
    const calls = [
      call(url, agent, '/wait').then(({ body }) => body),
      client.raw('POST', '/wait').then(textOf),
    ];
    await until(() => waiting.length === 2);
    files.write('cert.pem', second.cert);
    files.write('key.pem', second.key);
    await listener?.checkCertificates();
    expect(await shown(url)).toBe('second');
    for (const [, outgoing] of waiting) outgoing.end('well');
    expect(await Promise.all(calls)).toEqual(['well', 'well']);
    expect((await call(url, agent)).commonName).toBe('first');
    expect((await client.raw('POST', '/')).status).toBe(200);
    await client.close();
  });
});

const textOf = ({ body }: { readonly body: Buffer }): string => body.toString();

describe('when the client CA changes', () => {
  async function changeCa(): Promise<void> {
    files.write('ca.pem', stranger.cert);
    await listener?.checkCertificates();
    expect(reloads).toEqual([undefined]);
  }

  it('those it vouches for are known, and those of the former no more', async () => {
    const url = await openForClients();
    const other = stranger.client('other');
    expect([await subjectOver1(url, bot), await subjectOver1(url, other)]).toEqual([BOT, null]);
    await changeCa();
    expect([await subjectOver1(url, bot), await subjectOver1(url, other)]).toEqual([null, { CN: 'other' }]);
    expect([await subjectOver2(url, bot), await subjectOver2(url, other)]).toEqual([null, { CN: 'other' }]);
  });

  it('both are known while the file holds both', async () => {
    const url = await openForClients();
    files.write('ca.pem', `${authority.cert}${stranger.cert}`);
    await listener?.checkCertificates();
    expect(await subjectOver1(url, bot)).toEqual(BOT);
    expect(await subjectOver1(url, stranger.client('other'))).toEqual({ CN: 'other' });
  });

  it('idle connections are closed at once', async () => {
    const url = await openForClients();
    const client = await Http2Client.open(url, { ca: authority.cert, ...bot });
    let goneAway = false;
    client.session.once('goaway', () => (goneAway = true));
    const agent = newAgent(bot);
    await call(url, agent);
    const [idle] = Object.values(agent.freeSockets)[0] ?? [];
    const closed = new Promise((resolve) => idle?.once('close', resolve));
    await changeCa();
    await Promise.all([closed, client.closed]);
    expect(goneAway).toBe(true);
  });

  it('a call under way is answered, its client told to close, and no longer known', async () => {
    const url = await openForClients();
    const client = await Http2Client.open(url, { ca: authority.cert, ...bot });
    const calls = [call(url, newAgent(bot), '/wait'), client.raw('POST', '/wait')] as const;
    await until(() => waiting.length === 2);
    expect(waiting.map(([incoming]) => peerSubject(incoming.socket))).toEqual([BOT, BOT]);
    await changeCa();
    expect(waiting.map(([incoming]) => peerSubject(incoming.socket))).toEqual([undefined, undefined]);
    for (const [, outgoing] of waiting) outgoing.end('well');
    const [over1, over2] = await Promise.all(calls);
    expect([over1.body, over1.connection, textOf(over2)]).toEqual(['well', 'close', 'well']);
    await client.closed;
  });

  it('what was pipelined behind that call is not served', async () => {
    const url = await openForClients();
    const { hostname, port } = new URL(url);
    const socket = connect({ host: hostname, port: Number(port), ca: authority.cert, ...bot });
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    const closed = new Promise((resolve) => socket.once('close', resolve));
    const post = (path: string): string => `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n`;
    socket.write(post('/wait') + post('/wait'));
    await until(() => waiting.length === 2);
    await changeCa();
    socket.write(post('/wait'));
    await call(url, newAgent());
    for (const [, outgoing] of waiting) outgoing.end('well');
    await closed;
    expect(text.match(/well/g)).toHaveLength(2);
    expect(text.match(/connection: close/gi)).toHaveLength(1);
    expect(waiting).toHaveLength(2);
  });
});

describe('a listener that is opened with bad files', () => {
  const key = (): string => files.path('key.pem');
  it.each<[string, () => void, RegExp]>([
    [
      'no certificate file',
      () => unlinkSync(files.path('cert.pem')),
      /^listen\.tls\.certFile \(.*cert\.pem\): .*ENOENT/,
    ],
    ['no key file', () => unlinkSync(key()), /^listen\.tls\.keyFile \(.*key\.pem\): .*ENOENT/],
    [
      'no CA file',
      () => unlinkSync(files.path('ca.pem')),
      /^listen\.tls\.clientCaFile \(.*ca\.pem\): .*ENOENT/,
    ],
    [
      'no certificate in it',
      () => files.write('cert.pem', first.key),
      /^listen\.tls\.certFile .*no certificate in it/,
    ],
    [
      'a broken certificate',
      () => files.write('cert.pem', broken(first.cert)),
      /^listen\.tls\.certFile .*1 in it is broken/,
    ],
    [
      'a broken CA',
      () => files.write('ca.pem', authority.cert + broken(first.cert)),
      /^listen\.tls\.clientCaFile .*2 in it/,
    ],
    [
      'no key in it',
      () => files.write('key.pem', first.cert),
      /^listen\.tls\.keyFile .*no private key in it/,
    ],
    [
      'a broken key',
      () => files.write('key.pem', broken(first.key)),
      /^listen\.tls\.keyFile .*no private key in it/,
    ],
    [
      'another key',
      () => files.write('key.pem', second.key),
      /^listen\.tls\.keyFile .*is not that of the certificate/,
    ],
    ['a folder', () => putFolderAt(key()), /^listen\.tls\.keyFile .*is not a file/],
  ])('%s: says which, and what is wrong, and quotes no key', async (_, damage, words) => {
    damage();
    const error = await openForClients().catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(CertificateError);
    expect((error as Error).message).toMatch(words);
    const secret = first.key.split('\n')[1] ?? '';
    expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain(secret.slice(8, 30));
  });

  function putFolderAt(path: string): void {
    unlinkSync(path);
    mkdirSync(path);
  }

  function broken(pem: string): string {
    return pem.replace(/\n./, '\nA').replace(/(\n.{10})..../, '$1AAAA');
  }
});

describe('a stop', () => {
  it('closes idle connections of both protocols at once', async () => {
    const url = await open();
    const client = await Http2Client.open(url, { ca: authority.cert });
    expect((await client.raw('POST', '/')).status).toBe(200);
    await call(url, newAgent());
    await listener?.close(60_000);
    await client.closed;
  });

  it('lets answers under way go out, takes nothing more, and ends before the grace does', async () => {
    const url = await open();
    const client = await Http2Client.open(url, { ca: authority.cert });
    const calls = [
      call(url, newAgent(), '/wait').then(({ body }) => body),
      client.raw('POST', '/wait').then(textOf),
    ];
    await until(() => waiting.length === 2);
    let goneAway = false;
    client.session.once('goaway', () => (goneAway = true));
    listener?.stopAccepting();
    const closing = listener?.close(60_000);
    await until(() => goneAway);
    await expect(RawConnection.open(url)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    const late = Promise.resolve().then(() => client.raw('POST', '/wait'));
    late.catch(() => undefined);
    for (const [, outgoing] of waiting) outgoing.end('well');
    expect(await Promise.all(calls)).toEqual(['well', 'well']);
    await closing;
    await expect(late).rejects.toThrow();
    expect(waiting).toHaveLength(2);
  });

  it('cuts off what is left after the grace, also a handshake that never comes', async () => {
    const url = await open();
    const silent = await RawConnection.open(url);
    const client = await Http2Client.open(url, { ca: authority.cert });
    const calls = [call(url, newAgent(), '/wait'), client.raw('POST', '/wait')];
    await until(() => waiting.length === 2);
    const outcomes = Promise.allSettled(calls);
    await listener?.close(100);
    expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    await silent.closed;
  });

  it('ends a connection whose handshake it caught in the middle', async () => {
    const url = await open();
    const { hostname, port } = new URL(url);
    const raw = await RawConnection.open(url);
    const socket = connect({ host: hostname, port: Number(port), ca: authority.cert, ALPNProtocols: ['h2'] });
    socket.on('error', () => undefined).resume();
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await new Promise((resolve) => socket.once('connect', resolve));
    await listener?.close(200);
    await closed;
    raw.hangUp();
  });
});
