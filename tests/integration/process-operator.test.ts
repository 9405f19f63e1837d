import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { explainCall } from '../../src/cli/journal.js';
import { parseConfig } from '../../src/config.js';
import { checkJournal } from '../../src/journal/journal-check.js';
import { keyFingerprint } from '../../src/kraken/account.js';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { freePort } from '../support/free-port.mjs';
import { FakeSystemd, journalLines, Operator, ORDER, OrderBots } from '../support/operator-process.js';
import {
  canMount,
  closeWorldsLeftOpen,
  expectFlawless,
  expectServed,
  inWorld,
  MASTER,
  noncesAt,
  notHere,
  until,
  type ProcessWorld,
  type ProxyProcess,
} from '../support/process-world.js';
import { testConfig, type ConfigParts } from '../support/proxy-world.js';
import { signedRequest, type SignedReply } from '../support/sign.js';

const NO_KEY = { account: '', key: '', secret: '' };
const [MASTER_KEY = NO_KEY, ALICE_KEY = NO_KEY] = DEMO_KEYS;
const JOURNAL = { journal: { enabled: true } };
/** Lines are on disk after 100 ms and a write. */
const FLUSHED_WITHIN_MS = 500;
/** For tests that start many processes. */
const LONG_MS = 40_000;

const MOUNTS = canMount();
if (!MOUNTS) notHere('a full disk under the journal: mounting a tmpfs is not allowed');

/** They look into /proc, or stand in for systemd. */
const onLinux = process.platform === 'linux' ? it.concurrent : it.skip;

afterAll(closeWorldsLeftOpen);

function newSecret(): string {
  return randomBytes(64).toString('base64');
}

function lines(proxy: ProxyProcess, message: string): number {
  return proxy.log.filter(({ msg }) => msg === message).length;
}

async function hup(
  proxy: ProxyProcess,
  told: 'config reloaded' | 'the config was not reloaded',
): Promise<void> {
  const all = (): number => proxy.log.filter(({ msg }) => msg?.startsWith(told) === true).length;
  const before = all();
  proxy.kill('SIGHUP');
  await until(`one more "${told}"`, () => all() > before);
}

function journalOf(world: ProcessWorld): string {
  return `${world.stateFile}.journal.jsonl`;
}

/** `journal verify` over the files as they are now, whatever is written meanwhile. */
async function verify(
  world: ProcessWorld,
  change: (copy: string) => void = () => undefined,
  ...args: string[]
): Promise<{ code: number | null; out: string; err: string; copy: string }> {
  const folder = join(world.folder, `copy-${randomBytes(4).toString('hex')}`);
  mkdirSync(folder);
  for (const name of readdirSync(world.stateFolder).filter((each) => each.includes('.journal.')))
    cpSync(join(world.stateFolder, name), join(folder, name));
  const copy = join(folder, 'nonce.txt.journal.jsonl');
  change(copy);
  const config = world.writeConfig({ journal: { enabled: true, file: copy } });
  return { ...(await world.run('journal', 'verify', ...args, '--config', config)), copy };
}

/** As `journal verify` finds it, without a process for it. Gives the number of runs. */
async function expectWhole(world: ProcessWorld): Promise<number> {
  const { damages, missingDraws, lost, runs } = await checkJournal(journalOf(world));
  expect({ damages, missingDraws, lost }).toEqual({ damages: [], missingDraws: 0, lost: 0 });
  return runs;
}

async function expectVerifies(world: ProcessWorld, ...args: string[]): Promise<string> {
  const { code, out, err } = await verify(world, undefined, ...args);
  expect({ code, err, damage: /^damage.*/m.exec(out)?.[0] }).toEqual({ code: 0, err: '', damage: undefined });
  return out;
}

/** What `journal explain` prints, without a process for it. */
async function explainHere(file: string, id: string): Promise<string> {
  const { journal } = parseConfig(JSON.stringify(testConfig('sandbox', { journal: { file } })), {
    file: `${file}.config.json`,
    env: {},
  });
  let out = '';
  const terminal = {
    print: (line: string) => void (out += `${line}\n`),
    confirm: () => Promise.resolve(false),
    now: Date.now,
  };
  await explainCall({ journal }, id, terminal);
  return out;
}

/** The pause and the cancel-only mode of the test below are in force. */
async function expectHeld(world: ProcessWorld, proxy: ProxyProcess): Promise<void> {
  await proxy.line('held since before the start');
  const { accounts } = await new Operator(world, proxy).status();
  const by = { who: 'ada', why: 'a strange fill' };
  expect(accounts.map(({ hold }) => hold)).toMatchObject([
    { mode: 'cancel-only', ...by },
    { mode: 'pause', ...by },
  ]);
  const client = world.client(proxy.url);
  const [balance, order, paused] = await Promise.all([
    client.private('Balance'),
    client.private('AddOrder', ORDER),
    client.private('Balance', {}, '/accounts/alice'),
  ]);
  expectServed(balance);
  expect(order.headers['x-proxy-error']).toBe('permission-denied');
  expect(paused.headers['x-proxy-error']).toBe('queue-timeout');
}

// First, since it waits longest: for a lock that nobody renews.
it.concurrent(
  'holds and the journal go from owner to standby, frozen or killed, and through a restart: one writes at a time',
  () =>
    inWorld(async (world) => {
      const parts = { ...JOURNAL, queue: { maxWaitMs: 300 }, nonce: { standby: true } };
      const config = world.writeConfig(parts);
      const first = await world.serving(config);
      const standbys = [1, 2].map(() => world.spawn(['serve', '--config', config]));
      for (const standby of standbys) await Promise.all([standby.line('listening'), standby.line('standby')]);
      const operator = new Operator(world, first);
      const why = { who: 'ada', why: 'a strange fill' };
      expect((await operator.act('pause', { account: 'alice', ...why })).status).toBe(200);
      expect((await operator.act('cancel-only', { account: 'master', ...why })).status).toBe(200);
      const waits = new Operator(world, standbys[0] ?? first);
      expect(await waits.status()).toMatchObject({ ready: false, journal: null });

      // In the middle of load, so that lines wait for their write.
      const bots = world.bots(first.url, 2);
      await until('a load', () => bots.served > 20);
      first.kill('SIGSTOP');
      const isOwner = (each: ProxyProcess): boolean =>
        each.log.some(({ msg }) => msg?.startsWith('ready') === true);
      await until('a standby has taken over', () => standbys.some(isOwner));
      const second = standbys.find(isOwner) ?? first;
      const third = standbys.find((each) => each !== second) ?? first;
      await expectHeld(world, second);
      first.kill('SIGCONT');
      expect(await first.exit()).toEqual({ code: 75, signal: null });
      await bots.stop();
      expectServed(await world.client(second.url).private('Balance'));
      const { journal } = await new Operator(world, second).status();
      expect(journal?.problem).toBeNull();

      // One that waits reloads as well.
      world.writeConfig({ ...parts, queue: { maxWaitMs: 300, maxWaiting: 55 } }, config);
      await hup(third, 'config reloaded');
      await second.crash();
      await third.line('ready');
      await expectHeld(world, third);
      expect(await new Operator(world, third).tuning('maxWaiting')).toBe('55');
      expect((await new Operator(world, third).act('resume', { account: 'alice', ...why })).status).toBe(200);
      await third.crash();

      const fourth = await world.serving(config);
      const { accounts } = await new Operator(world, fourth).status();
      expect(accounts.map(({ name, hold }) => [name, hold?.mode])).toEqual([
        ['master', 'cancel-only'],
        ['alice', undefined],
      ]);
      fourth.kill('SIGTERM');
      expect(await fourth.exit()).toEqual({ code: 0, signal: null });

      // Each run's lines stand together. What the frozen one had handed to the system before it froze may still have been
      // written behind another's lines: then that file was left as it was, and a new one begun.
      const files = readdirSync(world.stateFolder).filter((name) => name.includes('.journal.'));
      expect(files).toContain('nonce.txt.journal.jsonl');
      expect(files.length).toBeLessThanOrEqual(2);
      expect(await expectWhole(world)).toBe(4);
      let run: unknown;
      for (const { kind, run: begun, requestId } of journalLines(journalOf(world))) {
        if (kind === 'begin') run = begun;
        else if (kind === 'call') expect(String(requestId)).toMatch(new RegExp(`^${String(run)}-`));
      }
    }),
  LONG_MS,
);

describe('SIGHUP', () => {
  it.concurrent(
    'puts clients, limits, log level and rotated secrets in force under load, and drops no call',
    () => {
      const fresh = { account: 'alice', key: 'fresh-key', secret: newSecret() };
      return inWorld(
        async (world) => {
          const put = (name: string, text: string): void =>
            writeFileSync(join(world.folder, name), `${text}\n`, { mode: 0o600 });
          const gate = await world.gate();
          const former = newSecret();
          const later = newSecret();
          put('alice.key', ALICE_KEY.key);
          put('alice.secret', ALICE_KEY.secret);
          put('bot.secret', former);
          const parts = {
            ...JOURNAL,
            upstream: { url: gate.url },
            accounts: { alice: { key: { file: 'alice.key' }, secret: { file: 'alice.secret' } } },
            clients: {
              loader: { key: 'loader', accounts: ['master', 'alice'] },
              bot: { key: 'bot', secret: { file: 'bot.secret' }, accounts: ['alice'] },
            },
          };
          // A key whose nonces are ahead, and the next one's are not.
          const floor = BigInt(Date.now() + 3_600_000) * 1_000_000n;
          writeFileSync(
            world.stateFile,
            `${BigInt(Date.now()) * 1_000_000n}\n${keyFingerprint(ALICE_KEY.key)} ${floor}\n`,
          );
          const config = world.writeConfig(parts);
          const proxy = await world.serving(config);
          const operator = new Operator(world, proxy);
          const asLoader = { 'api-key': 'loader' };
          const client = world.client(proxy.url, '', asLoader);
          let [served, failed] = [0, 0];
          let isLoad = true;
          const load = ['', '', '/accounts/alice', '/accounts/alice'].map(async (account) => {
            const bot = world.client(proxy.url, '', asLoader);
            while (isLoad) {
              const reply = await bot.private('Balance', {}, account).catch(() => undefined);
              if (reply?.json?.error.length === 0) served++;
              else failed++;
              await delay(5);
            }
          });
          let nonce = BigInt(Date.now()) * 1_000n;
          const signed = async (secret: string): Promise<string | undefined> => {
            const body = `nonce=${++nonce}`;
            const reply = await signedRequest(proxy.url, '/0/private/Balance', 'bot', secret, body);
            return reply.json?.error[0];
          };
          expect(await signed(former)).toBeUndefined();

          // One call is in flight and others wait, while everything changes below them.
          gate.shut();
          await until('a line', async () => (await operator.status()).lanes[0]?.waiting === 3);
          const cancel = client.private('CancelAll');
          put('alice.key', fresh.key);
          put('alice.secret', fresh.secret);
          put('bot.secret', later);
          const clients = { ...parts.clients, late: { key: 'late', accounts: ['alice'] } };
          world.writeConfig({ ...parts, clients, queue: { maxWaiting: 77 } }, config);
          await hup(proxy, 'config reloaded');
          gate.open();
          expectServed(await cancel);
          await until('a load after it', () => served > 20);

          expectServed(await world.client(proxy.url, '', { 'api-key': 'late' }).private('Balance'));
          expect([await signed(former), await signed(later)]).toEqual(['EAPI:Invalid signature', undefined]);
          expect(world.sandbox.received.at(-1)?.key).toBe(fresh.key);
          expect(await operator.tuning('maxWaiting')).toBe('77');
          expect((await proxy.line('config reloaded')).changed).toEqual([
            'accounts.alice.key',
            'accounts.alice.secret',
            'clients.bot.secret',
            'clients.late',
            'queue.maxWaiting',
          ]);

          const loud = await client.private('Balance');
          const { loadedAt } = (await operator.status()).config;
          world.writeConfig({ ...parts, clients, queue: { maxWaiting: 77 }, log: { level: 'warn' } }, config);
          proxy.kill('SIGHUP');
          await until('the level', async () => (await operator.status()).config.loadedAt !== loadedAt);
          const quiet = await client.private('Balance');
          isLoad = false;
          await Promise.all(load);
          expect(failed).toBe(0);
          proxy.kill('SIGTERM');
          expect(await proxy.exit()).toEqual({ code: 0, signal: null });
          const isLogged = ({ headers }: SignedReply): boolean =>
            proxy.log.some(({ requestId }) => requestId === headers['x-request-id']);
          expect([isLogged(loud), isLogged(quiet)]).toEqual([true, false]);
          expect([...new Set(world.sandbox.received.map(({ error }) => error))]).toEqual([undefined]);
          const ofAlice = world.sandbox.received.filter(({ key }) => key === ALICE_KEY.key);
          expect(BigInt(ofAlice[0]?.nonce ?? 0)).toBeGreaterThan(floor);
          await expectWhole(world);
          const told = proxy.stdout + readFileSync(journalOf(world), 'utf8');
          for (const secret of [former, later, fresh.secret, ALICE_KEY.secret])
            expect(told).not.toContain(secret);
        },
        { keys: [...DEMO_KEYS, fresh] },
      );
    },
  );

  it.concurrent('with a config that is no good changes nothing, and the log says why without a secret', () =>
    inWorld(async (world) => {
      const parts = { clients: { bot: { key: 'bot', accounts: ['master'] } }, queue: { maxWaiting: 50 } };
      const config = world.writeConfig(parts);
      const proxy = await world.serving(config);
      const operator = new Operator(world, proxy);
      const bot = world.client(proxy.url, '', { 'api-key': 'bot' });
      const secret = 'c2VjcmV0IG9mIG5vYm9keQ==';
      const put = { key: 'bot', accounts: ['master'] };
      for (const [bad, why] of [
        [`{ "accounts": { "master": { "secret": "${secret}" `, /not JSON/],
        [{ clients: { bot: { ...put, secret, alow: ['read'] } } }, /clients\.bot\.alow.*did you mean allow/s],
        [{ clients: { bot: { ...put, secret: { file: 'gone' } } } }, /clients\.bot\.secret\.file.*ENOENT/s],
        [{ queue: { maxWaiting: -1 }, clients: {} }, /queue\.maxWaiting/],
      ] as const) {
        if (typeof bad === 'string') writeFileSync(config, bad);
        else world.writeConfig(bad, config);
        await hup(proxy, 'the config was not reloaded');
        const told = proxy.log.findLast(({ msg }) => msg?.startsWith('the config was not reloaded'));
        expect((told?.err as Error).message).toMatch(why);
        expectServed(await bot.private('Balance'));
        expect(await operator.tuning('maxWaiting')).toBe('50');
      }
      expect(proxy.stdout).not.toContain(secret);
      rmSync(config);
      await hup(proxy, 'the config was not reloaded');
      expectServed(await bot.private('Balance'));
      expect(lines(proxy, 'config reloaded')).toBe(0);
    }),
  );

  onLinux('again and again while it starts harms nothing, and what was written last is in force', () =>
    inWorld(async (world) => {
      const config = world.writeConfig();
      const proxy = world.spawn(['serve', '--config', config]);
      // Before that a SIGHUP ends it, as it ends any program that has just begun.
      await until('it listens for SIGHUP', () => catchesHangUp(proxy.pid));
      await until('it has read its config', () => {
        proxy.kill('SIGHUP');
        return existsSync(world.lock);
      });
      world.writeConfig({ queue: { maxWaiting: 4_711 } }, config);
      proxy.kill('SIGHUP');
      await proxy.ready();
      const operator = new Operator(world, proxy);
      await until('it is in force', async () => (await operator.tuning('maxWaiting')) === '4711');
      expectServed(await world.client(proxy.url).private('Balance'));
    }),
  );
});

it.concurrent(
  'an operator’s stop drains: the call in flight ends, what waits is refused, the exact floor is written, exit 0; a SIGHUP meanwhile harms nothing',
  () =>
    inWorld(async (world) => {
      const systemd = new FakeSystemd(join(world.folder, 'systemd'));
      const gate = await world.gate();
      const config = world.writeConfig({ ...JOURNAL, upstream: { url: gate.url } });
      const proxy = await world.serving(config, systemd.wrapper());
      const operator = new Operator(world, proxy);
      const client = world.client(proxy.url);
      expectServed(await client.private('Balance'));
      gate.shut();
      const inFlight = client.private('Balance');
      await until('a call in flight', () => noncesAt(world.sandbox).length === 2);
      const waiting = Array.from({ length: 20 }, () => client.private('Balance'));
      await until('a line', async () => (await operator.status()).lanes[0]?.waiting === 20);
      const stopped = await operator.act('stop', { who: 'ada', why: 'a new version' });
      expect(stopped).toEqual({ status: 202, body: { stopping: true } });
      for (const { status, headers, json } of await Promise.all(waiting)) {
        expect({ status, code: headers['x-proxy-error'], error: json?.error }).toEqual({
          status: 200,
          code: 'shutting-down',
          error: ['EService:Busy'],
        });
      }
      world.writeConfig({ ...JOURNAL, upstream: { url: gate.url }, queue: { maxWaiting: 7 } }, config);
      for (let times = 0; times < 3; times++) proxy.kill('SIGHUP');
      gate.open();
      expectServed(await inFlight);
      expect(await proxy.exit()).toEqual({ code: 0, signal: null });
      expect(world.readState()).toBe(`${String(noncesAt(world.sandbox).at(-1))}\n`);
      expect(lines(proxy, 'config reloaded')).toBe(0);
      expect(systemd.messages.at(-1)).toBe('STOPPING=1|STATUS=stopping');

      await expectWhole(world);
      const told = journalLines(journalOf(world));
      expect(told.at(-1)?.kind).toBe('end');
      const act = { act: 'stop', who: 'ada', why: 'a new version', result: 'done' };
      expect(told).toContainEqual(expect.objectContaining(act));
      expect(told.filter(({ kind }) => kind === 'call')).toHaveLength(22);
      expectFlawless(world.sandbox);
    }),
);

describe('doctor', () => {
  it.concurrent(
    'examines from here where no proxy runs and leaves the state exact; asks one that runs, with its token if it has one',
    () =>
      inWorld(
        async (world) => {
          const [port, opsPort] = [await freePort(), await freePort()];
          const parts = { ...JOURNAL, listen: { port }, ops: { port: opsPort } };
          const config = world.writeConfig(parts);
          const examine = (): ReturnType<ProcessWorld['run']> => world.run('doctor', '--config', config);
          const asked = (): number =>
            world.sandbox.received.filter(({ endpoint }) => endpoint === 'GetApiKeyInfo').length;

          const here = await examine();
          expect(here).toMatchObject({ code: 0, err: '' });
          expect(here.out).toMatch(/^No proxy runs on this state: examined from here\.$/m);
          expect(here.out).toMatch(/^ACCOUNT +SEVERITY +CODE +WHAT IS, AND WHAT TO DO$/m);
          expect(here.out).toMatch(/^master +warning +withdraw-allowed +the key may withdraw/m);
          expect(here.out).toMatch(/^ +Fix: /m);
          expect(here.out).toMatch(/^alice +ok$/m);
          expect(asked()).toBe(2);
          expect(world.readState()).toBe(`${String(noncesAt(world.sandbox).at(-1))}\n`);
          const names = ['nonce.txt', 'nonce.txt.answers', 'nonce.txt.journal.jsonl'];
          expect(readdirSync(world.stateFolder)).toEqual(names);

          const proxy = await world.serving(config);
          expectServed(await world.client(proxy.url).private('Balance'));
          const there = await examine();
          expect(there).toMatchObject({ code: 0, err: '' });
          expect(there.out).toMatch(/^Examined by the proxy that runs\.$/m);
          expect(there.out.split('\n').slice(1)).toEqual(here.out.split('\n').slice(1));
          expect(asked()).toBe(4);
          expect(proxy.running).toBe(true);

          // From now on it has a token, and who asks needs it.
          const token = `right-${randomBytes(24).toString('hex')}`;
          const wrong = `wrong-${randomBytes(24).toString('hex')}`;
          const nobody = await freePort();
          world.writeConfig({ ...parts, ops: { port: opsPort, token } }, config);
          await hup(proxy, 'config reloaded');
          const all = await Promise.all(
            [{ token }, { token: wrong }, {}, { port: nobody }].map((ops) =>
              world.run(
                'doctor',
                '--config',
                world.writeConfig({ ...parts, ops: { port: opsPort, ...ops } }),
              ),
            ),
          );
          const [right, bad, none, lost] = all;
          expect(right).toMatchObject({ code: 0, err: '', out: there.out });
          expect(bad).toMatchObject({ code: 78, out: '' });
          expect(bad?.err).toContain('the token is not the one of ops.token');
          expect(none).toMatchObject({ code: 78, out: '' });
          expect(none?.err).toContain('Authorization: Bearer <ops.token>');
          expect(lost).toMatchObject({ code: 75, out: '' });
          expect(lost?.err).toContain(`cannot be asked at 127.0.0.1:${nobody}`);
          expect(proxy.running).toBe(true);
          proxy.kill('SIGTERM');
          expect(await proxy.exit()).toEqual({ code: 0, signal: null });
          for (const secret of [token, wrong])
            expect(JSON.stringify(all) + proxy.stdout).not.toContain(secret);
          expectFlawless(world.sandbox);
          await expectWhole(world);
        },
        {
          keys: [
            { ...MASTER_KEY, permissions: ['query-funds', 'withdraw-funds'], ipAllowlist: ['127.0.0.1'] },
            { ...ALICE_KEY, permissions: ['query-funds'], ipAllowlist: ['127.0.0.1'] },
          ],
        },
      ),
    LONG_MS,
  );

  it.concurrent(
    'ends with 1 on a wrong secret, 75 when no key could be examined, 78 on corrupt state, and gives the state back',
    () =>
      inWorld(async (world) => {
        const secret = newSecret();
        const at = (folder: string, parts: ConfigParts = {}): string =>
          world.writeConfig({ ...parts, nonce: { file: `${folder}/nonce.txt` } });
        mkdirSync(join(world.folder, 'corrupt'));
        writeFileSync(join(world.folder, 'corrupt', 'nonce.txt'), 'no nonce\n');
        const nobody = `http://127.0.0.1:${await freePort()}`;
        const configs = [
          at('wrong', { accounts: { master: { key: MASTER, secret } } }),
          at('away', { upstream: { url: nobody, timeoutMs: 1_000 } }),
          at('corrupt'),
        ];
        const [wrong, away, corrupt] = await Promise.all(
          configs.map((config) => world.run('doctor', '--config', config)),
        );
        expect(wrong?.code).toBe(1);
        expect(wrong?.out).toMatch(/^master +error +signature-wrong /m);
        expect(wrong?.err).toBe('the doctor has found an error\n');
        expect(JSON.stringify(wrong)).not.toContain(secret);
        expect(away?.out).toMatch(/^master +info +not-examined /m);
        expect(away?.code).toBe(75);
        expect(away?.err).toContain('2 keys could not be examined');
        expect(corrupt?.code).toBe(78);
        expect(corrupt?.err).toContain('is not a nonce state');
        for (const folder of ['wrong', 'away'])
          expect(readdirSync(join(world.folder, folder)).sort()).toEqual(['nonce.txt', 'nonce.txt.answers']);
        expect(readdirSync(join(world.folder, 'corrupt'))).toEqual(['nonce.txt']);
      }),
  );
});

describe('the journal', () => {
  it.concurrent(
    'verifies after each kill -9 in the middle of load, and holds every order that was on record; a flipped byte is found',
    () =>
      inWorld(async (world) => {
        const port = await freePort();
        const config = world.writeConfig({ ...JOURNAL, listen: { port } });
        const bots = new OrderBots(world, `http://127.0.0.1:${port}`, 4);
        const checks: Promise<unknown>[] = [];
        for (let round = 0; round < 3; round++) {
          const before = bots.placed.length;
          const proxy = await world.serving(config);
          const operator = new Operator(world, proxy);
          await until('a load', () => bots.placed.length > before + 30 + 7 * round);
          const placed = bots.placed.slice(before);
          const { calls } = await operator.status();
          const asked = performance.now();
          let head = '';
          await until('all of it on disk', async () => {
            const { journal } = await operator.status();
            head = journal?.head ?? '';
            return (journal?.lines ?? 0) > calls.total; // and a line for the start
          });
          await world.expectWithin(FLUSHED_WITHIN_MS, performance.now() - asked);
          await proxy.crash();
          const told = journalLines(journalOf(world));
          const recorded = new Set(told.flatMap(({ txids }) => (txids ?? []) as string[]));
          expect(placed.filter((txid) => !recorded.has(txid))).toEqual([]);
          checks.push(
            expectVerifies(world, '--head', head).then((out) => {
              expect(out).toMatch(new RegExp(`^runs +${round + 1}$`, 'm'));
              expect(out).toMatch(/^since head +\d+ lines? follows? the line/m);
            }),
          );
        }
        await bots.stop();
        const last = await world.serving(config);
        last.kill('SIGTERM');
        expect(await last.exit()).toEqual({ code: 0, signal: null });
        await Promise.all(checks);
        expect(await expectWhole(world)).toBe(4);

        const flipped = await verify(world, (copy) => {
          const bytes = readFileSync(copy);
          const start = bytes.toString('latin1').split('\n').slice(0, 9).join('\n').length + 1;
          const at = bytes.indexOf('"nonce":"', start) + 12;
          bytes[at] = (bytes[at] ?? 0) ^ 1;
          writeFileSync(copy, bytes);
        });
        expect(flipped.code).toBe(1);
        expect(flipped.out).toContain('nonce.txt.journal.jsonl:10');
        expect(flipped.err).toContain('the journal is damaged');
      }),
  );

  it.concurrent(
    'explains calls by nonce, request id and txid, and its tail shows what comes',
    () =>
      inWorld(async (world) => {
        const config = world.writeConfig(JOURNAL);
        const proxy = await world.serving(config);
        const client = world.client(proxy.url);
        const place = async (fields: Record<string, string> = {}): Promise<string[]> => {
          const { headers, json } = await client.private('AddOrder', { ...ORDER, ...fields });
          const nonce = world.sandbox.received.findLast(({ endpoint }) => endpoint === 'AddOrder')?.nonce;
          const { txid = [] } = (json?.result ?? {}) as { txid?: string[] };
          return [String(headers['x-request-id']), String(nonce), ...txid];
        };
        const placed = await place();
        world.sandbox.fault({ kind: 'reset-after', endpoint: 'AddOrder' });
        const lost = await place();
        const refused = await place({ pair: 'NOSUCH' });
        expect([placed.length, lost.length, refused.length]).toEqual([3, 3, 2]);
        await until('all on disk', () => journalLines(journalOf(world)).length >= 5);

        const explain = async (id: string): Promise<string> => {
          const { code, out, err } = await world.run('journal', 'explain', id, '--config', config);
          expect({ id, code, err }).toEqual({ id, code: 0, err: '' });
          return out;
        };
        const follow = world.spawn(['journal', 'tail', '--follow', '--lines', '1', '--config', config]);
        const [tail, ...told] = await Promise.all([
          world.run('journal', 'tail', '--lines', '2', '--config', config),
          ...[placed[2], lost[2], refused[0]].map((id = '') => explain(id)),
        ]);
        const stories = await Promise.all(
          [...placed, ...lost, ...refused].map((id) => explainHere(journalOf(world), id)),
        );
        expect(told).toEqual([stories[2], stories[5], stories[6]]);
        const means = stories.map((story) => /^means +(.*)$/m.exec(story)?.[1]);
        expect(means.slice(0, 3).every((text) => text === 'DONE. Kraken executed it')).toBe(true);
        for (const text of means.slice(3, 6)) expect(text).toContain('DONE. Its answer was lost on the way');
        for (const text of means.slice(6)) expect(text).toContain('NOT DONE, for certain: Kraken refused it');
        expect(new Set(stories.slice(0, 3)).size).toBe(1);
        expect(stories[0]).toContain(`txids        ${placed[2]}`);
        expect(stories[3]).toContain("The proxy's own questions for it:");
        expect(stories[6]).toContain('EQuery:Unknown asset pair');
        expect(tail.code).toBe(0);
        expect(tail.out.trimEnd().split('\n')).toHaveLength(2);
        expect(tail.out).toContain(refused[0]);

        await follow.says(new RegExp(`call +${refused[0]} `));
        const [next] = await place();
        await follow.says(new RegExp(`call +${next} `));
        follow.kill('SIGINT');
        expect(await follow.exit()).toEqual({ code: 0, signal: null });
        expect(follow.stdout.trimEnd().split('\n')).toHaveLength(2);
      }),
    LONG_MS,
  );

  (MOUNTS ? it.concurrent : it.skip)(
    'on a disk that is full stops no trading, says so, and goes on without a gap when there is room',
    () =>
      inWorld(async (world) => {
        const folder = join(world.folder, 'disk');
        mkdirSync(folder);
        const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', folder]);
        expect(status).toBe(0);
        world.onClose(() => spawnSync('umount', ['-l', folder]));
        const file = join(folder, 'journal.jsonl');
        const config = world.writeConfig({ journal: { enabled: true, file } });
        const proxy = await world.serving(config);
        const operator = new Operator(world, proxy);
        const client = world.client(proxy.url);
        expectServed(await client.private('Balance'));
        await until('on disk', async () => (await operator.status()).journal?.lines === 2);
        const filler = join(folder, 'filler');
        expect(() => {
          for (;;) writeFileSync(filler, Buffer.alloc(4_096), { flag: 'a' });
        }).toThrow('ENOSPC');
        let calls = 1;
        await until('full', async () => {
          expectServed(await client.private('Balance'));
          calls++;
          return (await world.gauge(proxy, 'journal_failing')) === 1;
        });
        await proxy.line('the journal cannot be written; trading goes on');
        expect((await operator.status()).journal?.problem).toContain('ENOSPC');
        expectServed(await client.private('AddOrder', ORDER));
        expect(await world.readiness(proxy)).toMatchObject({ status: 200 });
        const halfway = await world.run('journal', 'verify', '--config', config);
        expect({ code: halfway.code, err: halfway.err }).toEqual({ code: 0, err: '' });

        rmSync(filler);
        await until('written again', async () => (await world.gauge(proxy, 'journal_failing')) === 0);
        await proxy.line('the journal is written again');
        expect((await operator.status()).journal).toMatchObject({ problem: null, lost: 0 });
        proxy.kill('SIGTERM');
        expect(await proxy.exit()).toEqual({ code: 0, signal: null });
        const { code, out } = await world.run('journal', 'verify', '--config', config);
        expect({ code, damage: /^damage.*/m.exec(out)?.[0] }).toEqual({ code: 0, damage: undefined });
        expect(journalLines(file).filter(({ kind }) => kind === 'call')).toHaveLength(calls + 1);
      }),
  );
});

onLinux('the log is JSON in a pipe, lines for people as text, and has priorities where journald reads', () =>
  inWorld(async (world) => {
    const configs = ['auto', 'text', 'auto'].map((format, index) =>
      world.writeConfig({ log: { format }, nonce: { file: `state-${index}/nonce.txt` } }),
    );
    const underSystemd =
      'exec 3>&1; export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/3); exec "$@" 3>&-';
    const elsewhere = ['env', 'JOURNAL_STREAM=1:1'];
    const wrappers = [elsewhere, [], ['sh', '-c', underSystemd, 'sh']];
    const [json, text, journald] = configs.map((config, index) =>
      world.spawn(['serve', '--config', config], wrappers[index]),
    ) as [ProxyProcess, ProxyProcess, ProxyProcess];
    await Promise.all([json.ready(), journald.ready(), text.says(/ready: the nonce state is ours.*\n/)]);
    await text.says(/ info +listening .*\n/);
    const url = /\burl=(\S+)/.exec(text.stdout)?.[1] ?? '';
    for (const [proxy, at] of [
      [json, json.url],
      [text, url],
      [journald, journald.url],
    ] as const) {
      const client = world.client(at);
      expectServed(await client.private('Balance'));
      await client.private('AddOrder', { 'bad field': '\u2028', pair: 'X' }, '/accounts/nobody');
      proxy.kill('SIGTERM');
      expect(await proxy.exit()).toEqual({ code: 0, signal: null });
    }
    const written = [json, text, journald].map(({ stdout }) => stdout.trimEnd().split('\n'));
    const [jsonLines = [], textLines = [], journaldLines = []] = written;
    for (const line of jsonLines) expect(JSON.parse(line)).toHaveProperty('time');
    for (const line of textLines) expect(line).toMatch(/^\d\d:\d\d:\d\d\.\d{3} (info |warn |call ) ?\S/);
    expect(textLines.join('\n')).toMatch(
      / call +local→master Balance executed [\d.]+ ms \(wait [\d.]+, Kraken [\d.]+\)/,
    );
    for (const line of journaldLines) {
      const [, priority = '', rest = line] = /^<([46])>(.*)$/.exec(line) ?? [];
      const { level } = JSON.parse(rest) as { level: number };
      expect([priority, level]).toEqual(level === 40 ? ['4', 40] : ['6', 30]);
    }
    expect(jsonLines).toHaveLength(journaldLines.length);
    expect(textLines).toHaveLength(journaldLines.length);
  }),
);

onLinux(
  'systemd is told of readiness and reloads, good or not, and its watchdog is fed; nothing is left behind by kill -9',
  () =>
    inWorld(async (world) => {
      const systemd = new FakeSystemd(join(world.folder, 'systemd'));
      const config = world.writeConfig();
      const proxy = await world.serving(config, systemd.wrapper({ WATCHDOG_USEC: '200000' }));
      const told = (): string[] => systemd.messages.filter((text) => text !== 'WATCHDOG=1');
      const pings = (): number => systemd.messages.filter((text) => text === 'WATCHDOG=1').length;
      const READY = 'READY=1|STATUS=serving';
      await until('ready', () => told().length === 1);
      expect(told()).toEqual([READY]);
      const [before, from] = [pings(), performance.now()];
      await until('pings', () => pings() >= before + 4);
      // Twice within the watchdog's time.
      await world.expectWithin(1_000, performance.now() - from);
      await hup(proxy, 'config reloaded');
      writeFileSync(config, '{');
      await until('reloaded', () => told().length === 3);
      await hup(proxy, 'the config was not reloaded');
      await until('told', () => told().length === 5);
      const reloading = expect.stringMatching(/^RELOADING=1\|MONOTONIC_USEC=\d+$/) as string;
      expect(told()).toEqual([READY, reloading, READY, reloading, READY]);
      expect(systemd.relays).toHaveLength(1);
      const [relay = 0] = systemd.relays;
      expect(() => process.kill(relay, 0)).not.toThrow();
      await proxy.crash();
      await until('the relay has ended', () => !isRunning(relay));
    }),
);

function isRunning(pid: number): boolean {
  try {
    // One that has ended and that nobody has asked about is no process any more.
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** Whether a process has a handler of its own for SIGHUP. */
function catchesHangUp(pid: number): boolean {
  const [, mask = '0'] = /^SigCgt:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return (BigInt(`0x${mask}`) & 1n) === 1n;
}
