import { request } from 'node:https';
import { connect } from 'node:tls';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { TestAuthority, type Pair } from '../support/certificates.js';
import { openGate } from '../support/gate.js';
import { Http2Client } from '../support/http2-client.js';
import { openProxyWorld, type ProxyWorld } from '../support/proxy-world.js';
import { CertificateFolder } from '../support/tls-world.js';
import { until } from '../support/until.js';

const [MASTER] = DEMO_KEYS;
const serverCa = new TestAuthority('server CA');
const clientCa = new TestAuthority('client CA');
const GRID: Pair = clientCa.client([
  ['O', 'Desk'],
  ['CN', 'grid'],
]);

let files: CertificateFolder;
let world: ProxyWorld;
beforeEach(async () => {
  files = new CertificateFolder(serverCa.server(), clientCa.cert);
  const tls = {
    certFile: files.path('cert.pem'),
    keyFile: files.path('key.pem'),
    clientCaFile: files.path('ca.pem'),
  };
  const grid = {
    key: 'grid-key',
    certSubject: { CN: 'grid', O: 'Desk' },
    accounts: ['master'],
    allow: ['read'],
  };
  world = await openProxyWorld({ config: { listen: { tls }, clients: { grid } } });
});
afterEach(async () => {
  await world.close();
  files.remove();
});

/** One call on a connection of its own, over HTTP/1.1. */
function call(pair: Pair | undefined, headers: Record<string, string> = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = request(
      `${world.url}/0/private/Balance`,
      { method: 'POST', ca: serverCa.cert, ...pair, headers, agent: false },
      (response) => {
        response.resume().on('end', () => resolve(String(response.headers['x-proxy-error'] ?? 'served')));
      },
    );
    sent.on('error', reject).end();
  });
}

it('a client is known by its certificate, with or without its key, and does what it may', async () => {
  expect(await call(GRID)).toBe('served');
  expect(await call(GRID, { 'API-Key': 'grid-key' })).toBe('served');
  expect(world.sandbox.received.map(({ headers }) => headers['api-key'])).toEqual([MASTER?.key, MASTER?.key]);
  const http2 = await Http2Client.open(world.url, { ca: serverCa.cert, ...GRID });
  expect((await http2.raw('POST', '/0/private/Balance')).json?.error).toEqual([]);
  expect((await http2.raw('POST', '/0/private/AddOrder')).headers['x-proxy-error-detail']).toBe(
    'allow: AddOrder is not in allow',
  );
  await http2.close();
});

it('nobody else is taken for it: no certificate, another subject, another authority', async () => {
  const key = { 'API-Key': 'grid-key' };
  expect(await call(undefined, key)).toBe('invalid-key');
  expect(await call(clientCa.client('grid'), key)).toBe('invalid-key');
  const foreign = new TestAuthority('client CA').client([
    ['O', 'Desk'],
    ['CN', 'grid'],
  ]);
  expect(await call(foreign, key)).toBe('invalid-key');
  expect(await call(GRID, { 'API-Key': MASTER?.key ?? '' })).toBe('permission-denied');
  expect(world.sandbox.received).toEqual([]);
});

it('a certificate whose authority is taken out of the file is nobody’s from then on, also on a connection that stays', async () => {
  const http2 = await Http2Client.open(world.url, { ca: serverCa.cert, ...GRID });
  expect((await http2.raw('POST', '/0/private/Balance')).json?.error).toEqual([]);
  files.write('ca.pem', new TestAuthority('next CA').cert);
  await until(() => world.log.some(({ msg }) => msg === 'certificates reloaded'));
  expect(await call(GRID)).toBe('invalid-key');
  await http2.closed;
});

it('a handshake under way when its authority is taken out does not slip through', async () => {
  const gate = await openGate();
  gate.leadTo(world.url);
  gate.shut(); // the proxy's half of the handshake waits here
  const { port } = new URL(gate.url);
  const options = { port: Number(port), host: '127.0.0.1', ca: serverCa.cert, ...GRID };
  const socket = connect({ ...options, checkServerIdentity: () => undefined, ALPNProtocols: ['http/1.1'] });
  const ended = new Promise<string>((resolve) => {
    socket.once('error', () => resolve('cut off')).once('close', () => resolve('cut off'));
    socket.once('secureConnect', () => {
      socket.write('POST /0/private/Balance HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n');
      socket.once('data', (data: Buffer) =>
        resolve(data.toString().includes('"XXBT"') ? 'served' : 'refused'),
      );
    });
  });
  // The proxy has begun the handshake once it has served a later connection.
  expect(await call(GRID)).toBe('served');
  files.write('ca.pem', new TestAuthority('next CA').cert);
  await until(() => world.log.some(({ msg }) => msg === 'certificates reloaded'));
  gate.open();
  expect(await ended).toBe('cut off');
  socket.destroy();
  await gate.close();
});
