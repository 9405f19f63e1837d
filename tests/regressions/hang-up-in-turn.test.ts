/*
 * A bot gave an order up and hung up while its call, already in turn, waited for the disk to take the next stretch of
 * nonces, or for a connection to Kraken. Only calls in the line were taken out by a hang-up; this one went on when its
 * wait ended, and the order was sent for nobody: the bot had placed it again elsewhere, and had it twice. The last
 * look before the first byte now also asks whether the client is still there.
 */
import { jest } from '@jest/globals';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import dns from 'node:dns';
import { readFileSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';
import { callLines } from '../support/call-lines.js';
import { openGate, type Gate } from '../support/gate.js';
import { TestClient } from '../support/http.js';
import { Scrape } from '../support/metrics.js';
import { openProxyWorld, type ProxyWorld } from '../support/proxy-world.js';
import { RawConnection, requestText } from '../support/raw-socket.js';
import { until } from '../support/until.js';

let gate: Gate;
let world: ProxyWorld;
let client: TestClient;
/** Orders whose connection the listener has seen closed. */
let closed: number;
/** Lets what is held go on. */
let release: () => void;

beforeEach(async () => {
  closed = 0;
  release = () => undefined;
  gate = await openGate();
  // By name, so that there is something to look up before the first connection.
  const upstream = { url: gate.url.replace('127.0.0.1', 'localhost') };
  world = await openProxyWorld({ config: { upstream, nonce: { reserveMs: 1_000 } } });
  gate.leadTo(world.sandbox.url);
  client = new TestClient(world.url);
  subscribe('http.server.request.start', watch);
});
afterEach(async () => {
  unsubscribe('http.server.request.start', watch);
  release();
  client.close();
  await world.close();
  await gate.close();
});

/** Node's own word on each request that a server in this process takes. */
function watch(message: unknown): void {
  const { response } = message as { response: ServerResponse };
  if (response.req.url === '/0/private/AddOrder') response.once('close', () => closed++);
}

/** From now on no file is durable, until released. */
async function holdDisk(): Promise<void> {
  const any = await open(fileURLToPath(import.meta.url));
  const files = Object.getPrototypeOf(any) as FileHandle;
  await any.close();
  const sync: (this: FileHandle) => Promise<void> = Reflect.get(files, 'sync');
  let land = (): void => undefined;
  const landed = new Promise<void>((resolve) => (land = resolve));
  const held = jest.spyOn(files, 'sync').mockImplementation(async function (this: FileHandle) {
    await landed;
    await sync.call(this);
  });
  release = () => {
    held.mockRestore();
    land();
  };
  // What is durable already may be handed out; then the next call has to wait.
  await until(() => BigInt(Date.now()) * 1_000_000n > BigInt(readFileSync(world.stateFile, 'latin1')));
}

/** From now on no name is resolved, until released; gives how many wait to be. */
function holdNames(): () => number {
  const lookup = dns.lookup as (...args: unknown[]) => void;
  const waiting: unknown[][] = [];
  const held = jest.spyOn(dns, 'lookup') as unknown as jest.SpiedFunction<typeof lookup>;
  held.mockImplementation((...args) => void waiting.push(args));
  release = () => {
    held.mockRestore();
    for (const args of waiting.splice(0)) lookup(...args);
  };
  return () => waiting.length;
}

async function placeOrder(): Promise<RawConnection> {
  const connection = await RawConnection.open(world.url);
  const body = 'pair=XBTUSD&type=buy&ordertype=market&volume=1';
  const form = { 'Content-Type': 'application/x-www-form-urlencoded' };
  connection.write(requestText(world.url, 'POST', '/0/private/AddOrder', body, form));
  await lane('in_flight', 1);
  return connection;
}

async function hangUp(connection: RawConnection): Promise<void> {
  connection.hangUp();
  await until(() => closed === 1);
}

async function lane(what: 'in_flight' | 'waiting', count: number): Promise<void> {
  await until(async () => (await Scrape.of(world.opsUrl)).value(`lane_${what}`) === count);
}

function endpoints(): (string | undefined)[] {
  return world.sandbox.received.map(({ endpoint }) => endpoint);
}

/** The order ended without having been sent; the call behind it, and any later one, has the lane to itself. */
async function expectGivenUp(order: RawConnection): Promise<void> {
  await hangUp(order);
  const next = client.private('OpenOrders');
  await lane('waiting', 1); // the slot follows the real work, which still waits
  expect(endpoints()).toEqual([]);
  release();
  expect((await next).json?.error).toEqual([]);
  expect((await client.private('Balance')).json?.error).toEqual([]);
  expect(endpoints()).toEqual(['OpenOrders', 'Balance']);
  expect(await callLines(world.log, { endpoint: 'AddOrder' })).toMatchObject([
    { outcome: 'not-sent', hungUp: true },
  ]);
  const scrape = await Scrape.of(world.opsUrl);
  expect([scrape.value('lane_in_flight'), scrape.value('lane_waiting')]).toEqual([0, 0]);
  expect(world.fatal).toEqual([]);
}

it('an order whose client hangs up while it waits for the disk is not sent', async () => {
  await holdDisk();
  await expectGivenUp(await placeOrder());
});

it('an order whose client hangs up while it waits for a connection to Kraken is not sent', async () => {
  const waiting = holdNames();
  const order = await placeOrder();
  await until(() => waiting() > 0);
  expect((await Scrape.of(world.opsUrl)).value('nonces_issued_total')).toBe(1);
  await expectGivenUp(order);
});

it.each(['disk', 'connection'])('an order whose client waits for the %s with it is sent', async (what) => {
  if (what === 'disk') await holdDisk();
  else holdNames();
  const order = await placeOrder();
  expect(endpoints()).toEqual([]);
  release();
  expect((await order.reply())?.body.toString()).toContain('"txid"');
  expect(endpoints()).toEqual(['AddOrder']);
  order.hangUp();
});
