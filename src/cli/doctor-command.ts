import { request } from 'node:http';
import { userInfo } from 'node:os';
import type { Config } from '../config.js';
import { isWildcard } from '../config/addresses.js';
import type { KeyFinding } from '../doctor/findings.js';
import { createLog } from '../log.js';
import { resolveLinks } from '../nonce/file-store.js';
import { judge, readHolder } from '../nonce/holder.js';
import { StateOwnedElsewhereError } from '../nonce/store.js';
import type { FindingView } from '../operator/views.js';
import { openServer } from '../server.js';
import { printFindings } from './doctor.js';
import { strangerTo, type Uid } from './state-owner.js';
import { UsageError, type Terminal } from './terminal.js';

/** Examining takes a question a key; a proxy under load may need a while. */
const PATIENCE_MS = 60_000;
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;

/**
 * `doctor`: examines every key and prints what it finds. A proxy that runs on the same state is asked to do it, for only
 * it may use the keys; else this process owns the state for as long as it takes, which another user than the state's
 * must not: UsageError. Where proxies share a database, this process is one of them for as long as it takes. Throws CheckFailed on an error.
 */
export async function runDoctor(
  config: Config,
  version: string,
  terminal: Terminal,
  uid?: Uid,
): Promise<void> {
  const accounts = config.accounts.map(({ name }) => name);
  if (config.nonce.store === 'postgres') {
    // One node more: no other has to stop for it, and the journal is the running one's.
    const alone = { ...config, journal: { ...config.journal, enabled: false } };
    const findings = await examineHere(alone, version);
    terminal.print('Examined from here, beside the proxies that share the database.');
    printFindings(findings, accounts, terminal);
    return;
  }
  const stranger = strangerTo(config.nonce.file, uid);
  const { findings, where } =
    stranger === undefined ? await examine(config, version) : await askAsStranger(config, stranger);
  terminal.print(where);
  printFindings(findings, accounts, terminal);
}

interface Examined {
  readonly findings: readonly KeyFinding[];
  readonly where: string;
}

async function examine(config: Config, version: string): Promise<Examined> {
  try {
    const findings = await examineHere(config, version);
    return { findings, where: 'No proxy runs on this state: examined from here.' };
  } catch (error) {
    if (!(error instanceof StateOwnedElsewhereError)) throw error;
    return await askRunning(config);
  }
}

/** Only asks: even trying for the lock would leave files. Without an owner the port may be anybody's, so no token goes there. */
async function askAsStranger(config: Config, stranger: UsageError): Promise<Examined> {
  if (!isOwned(config.nonce.file)) throw stranger;
  try {
    return await askRunning(config);
  } catch (error) {
    throw error instanceof StateOwnedElsewhereError ? stranger : error;
  }
}

function isOwned(file: string): boolean {
  try {
    const holder = readHolder(`${resolveLinks(file)}.holder`);
    return holder !== undefined && judge(holder) !== 'dead';
  } catch {
    return false; // not for us to see
  }
}

async function examineHere(config: Config, version: string): Promise<readonly KeyFinding[]> {
  const quiet = { write: () => undefined };
  let lost: unknown;
  const server = await openServer({
    config: {
      ...config,
      nonce: { ...config.nonce, standby: false },
      doctor: { ...config.doctor, enabled: false },
    },
    log: createLog({ level: 'silent', destination: quiet }),
    version,
    listens: false,
    onFatal: (error) => (lost = error),
  });
  try {
    const findings = await server.examine();
    if (lost !== undefined) throw lost as Error;
    return findings;
  } finally {
    await server.close();
  }
}

async function askRunning({ ops }: Config): Promise<Examined> {
  if (ops.port === 0)
    throw new UsageError('ops.port is 0: the running proxy cannot be found; ask it through its page');
  const body = JSON.stringify({ who: nameOfUser(), why: 'kraken-signing-proxy doctor' });
  const { status, text } = await post('/v1/doctor', body, ops);
  const answer = parsed(text);
  if (status !== 200 || answer.findings === undefined) {
    const why = answer.error?.message ?? `HTTP ${status}`;
    throw new UsageError(`the proxy that runs does not answer as it should: ${why}`);
  }
  const findings = answer.findings.map(({ account, since, code, ...finding }) => ({
    ...finding,
    code: code as KeyFinding['code'],
    account: account ?? undefined,
    since: Date.parse(since),
  }));
  return { findings, where: 'Examined by the proxy that runs.' };
}

function post(
  path: string,
  body: string,
  { host, port, hosts, token }: Config['ops'],
): Promise<{ readonly status: number; readonly text: string }> {
  const address = isWildcard(host)
    ? host.includes(':')
      ? '::1'
      : '127.0.0.1'
    : host.replace(/^\[|\]$/g, '');
  const headers = {
    host: hosts[0] ?? 'localhost',
    'content-type': 'application/json',
    ...(token === undefined ? {} : { authorization: `Bearer ${token.reveal()}` }),
  };
  return new Promise((resolve, reject) => {
    // It may be about to start or to stop, or be another doctor.
    const failed = (error: Error): void =>
      reject(
        new StateOwnedElsewhereError(
          `the state is owned by a proxy that cannot be asked at ${address}:${port} (${error.message})`,
        ),
      );
    const call = request({ host: address, port, path, method: 'POST', headers, timeout: PATIENCE_MS });
    call.on('timeout', () => call.destroy(new Error(`no answer within ${PATIENCE_MS / 1_000} s`)));
    call.on('error', failed);
    call.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece: string) => {
        if ((text += piece).length > MAX_ANSWER_BYTES) call.destroy(new Error('the answer is too long'));
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
      response.on('error', failed);
    });
    call.end(body);
  });
}

/** A container's user often has no name. */
function nameOfUser(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.geteuid?.() ?? 'unknown'}`;
  }
}

interface Answer {
  readonly findings?: readonly FindingView[];
  readonly error?: { readonly message?: string };
}

function parsed(text: string): Answer {
  try {
    return JSON.parse(text) as Answer;
  } catch {
    return {};
  }
}
