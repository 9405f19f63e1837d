import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { readLine, type JournalLine } from '../../src/journal/journal-line.js';
import type { Status } from '../../src/operator/views.js';
import { TestClient } from './http.js';
import type { ProcessWorld, ProxyProcess } from './process-world.js';
import type { ActAnswer } from './proxy-world.js';

/** An order that rests in the sandbox's book. */
export const ORDER = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '0.0001' };

/** A person at the operator's listener of a proxy in a process of its own. */
export class Operator {
  readonly #client: TestClient;

  constructor(world: ProcessWorld, proxy: ProxyProcess, token?: string) {
    this.#client = world.client(
      proxy.opsUrl,
      '',
      token === undefined ? {} : { authorization: `Bearer ${token}` },
    );
  }

  async act(
    name: string,
    fields: Readonly<Record<string, unknown>> = {},
  ): Promise<{ status: number; body: ActAnswer }> {
    const body = JSON.stringify({ who: 'a test', why: 'to see', ...fields });
    const headers = { 'content-type': 'application/json' };
    const reply = await this.#client.raw('POST', `/v1/${name}`, body, headers);
    return { status: reply.status, body: JSON.parse(reply.body.toString()) as ActAnswer };
  }

  async status(): Promise<Status> {
    for (;;) {
      const { status, body } = await this.#client.raw('GET', '/v1/status');
      if (status === 200) return JSON.parse(body.toString()) as Status;
      // A test that looks again and again may ask too often.
      if (status !== 429) throw new Error(`/v1/status: HTTP ${status}`);
      await delay(50);
    }
  }

  /** How the proxy is tuned now, by the labels of the metric `config_info`. */
  async tuning(label: string): Promise<string | undefined> {
    const { body } = await this.#client.raw('GET', '/metrics');
    const [, labels = ''] = /^kraken_proxy_config_info\{(.*)\} 1$/m.exec(body.toString()) ?? [];
    return new RegExp(`\\b${label}="([^"]*)"`).exec(labels)?.[1];
  }
}

/** Bots that place orders one after the other until they are stopped, whatever becomes of the proxy. */
export class OrderBots {
  /** Transaction ids they were told. */
  readonly placed: string[] = [];
  readonly #running: Promise<void>[];
  #stopped = false;

  constructor(world: ProcessWorld, url: string, count: number) {
    this.#running = Array.from({ length: count }, () => this.#run(url));
    world.onClose(() => this.stop());
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#running);
  }

  async #run(url: string): Promise<void> {
    const client = new TestClient(url);
    while (!this.#stopped) {
      const reply = await client.private('AddOrder', ORDER).catch(() => undefined);
      const { txid = [] } = (reply?.json?.result ?? {}) as { txid?: string[] };
      this.placed.push(...txid);
      await delay(5);
    }
    client.close();
  }
}

/** The whole lines of one file of a journal. */
export function journalLines(file: string): JournalLine[] {
  const texts = readFileSync(file, 'utf8').split('\n').slice(0, -1);
  return texts.map((text) => readLine(text)).filter((line) => line !== undefined);
}

/** A service manager that a proxy can be started under: a `systemd-notify` that writes down what it is told. */
export class FakeSystemd {
  readonly #notes: string;
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    this.#notes = join(folder, 'notes');
    mkdirSync(folder);
    const notify = join(folder, 'systemd-notify');
    const script = `#!/bin/sh
line=$PPID; for part in "$@"; do line="$line|$part"; done
printf '%s\\n' "$line" >> '${this.#notes}'
`;
    writeFileSync(this.#notes, '');
    writeFileSync(notify, script);
    chmodSync(notify, 0o755);
  }

  /** In front of the command line of what it starts. */
  wrapper(env: Readonly<Record<string, string>> = {}): string[] {
    const given = {
      NOTIFY_SOCKET: join(this.#folder, 'socket'),
      PATH: `${this.#folder}${delimiter}${process.env.PATH ?? ''}`,
      ...env,
    };
    return ['env', ...Object.entries(given).map(([name, value]) => `${name}=${value}`)];
  }

  /** The messages in order, their parts between bars. */
  get messages(): string[] {
    return this.#read().map((line) => line.slice(line.indexOf('|') + 1));
  }

  /** The processes that told it. */
  get relays(): number[] {
    return [...new Set(this.#read().map((line) => Number(line.split('|')[0])))];
  }

  #read(): string[] {
    return readFileSync(this.#notes, 'utf8').split('\n').slice(0, -1);
  }
}
