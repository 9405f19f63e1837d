import type { IncomingMessage, ServerResponse } from 'node:http';

import { FAULT_KINDS, type Fault } from './faults.js';
import { allPairs } from './market-data.js';
import { SYSTEM_STATUSES, type SystemStatus } from './private-endpoint.js';
import type { KeySettings, SandboxKey } from './request-checks.js';
import type { Sandbox } from './sandbox.js';

/** Whether a request target belongs to the control plane. */
export function isControlPath(target: string): boolean {
  return target.startsWith('/sandbox/');
}

/**
 * The control plane, for tests in another process, under `/sandbox/` on the sandbox's own port:
 *
 * - `GET /sandbox/received`: what was received, oldest first, bodies as text
 * - `GET /sandbox/state`: call and engine counters, calls in flight, highest nonces, calls refused for
 *   their nonce or the call counter
 * - `POST /sandbox/faults` (a Fault or a list of them), `DELETE /sandbox/faults`
 * - `POST /sandbox/nonce` `{"key", "nonce"}`: as if another program had used the key
 * - `POST /sandbox/settings` `{"callCounter", "engineCounter", "systemStatus"}`: any of them
 * - `POST /sandbox/key` `{"key"}` with any of KeySettings, the nonce window as text: as if the key had been edited
 * - `GET /sandbox/orders?account=`
 */
export function answerControl(
  sandbox: Sandbox,
  keys: readonly SandboxKey[],
  req: IncomingMessage,
  res: ServerResponse,
  body: Buffer,
): void {
  // A web page can reach a loopback port; what it sends carries one of these.
  const fromBrowser = Object.keys(req.headers).some(
    (name) =>
      // Node's own fetch sends a lone Sec-Fetch-Mode; a browser sends Sec-Fetch-Site with every request.
      name === 'origin' || (name.startsWith('sec-fetch-') && name !== 'sec-fetch-mode'),
  );
  const { status, value } = fromBrowser
    ? { status: 403, value: { error: 'not for browsers' } }
    : respond(sandbox, keys, req, body);
  const text = JSON.stringify(value, (_name, field: unknown) =>
    typeof field === 'bigint' ? field.toString() : field,
  );
  res.writeHead(status, { 'content-type': 'application/json' });
  res.end(text);
}

interface ControlReply {
  readonly status: number;
  readonly value: unknown;
}

function respond(
  sandbox: Sandbox,
  keys: readonly SandboxKey[],
  req: IncomingMessage,
  body: Buffer,
): ControlReply {
  const url = new URL(req.url ?? '', 'http://sandbox');
  const route = `${req.method ?? ''} ${url.pathname}`;
  try {
    switch (route) {
      case 'GET /sandbox/received':
        return ok(sandbox.received.map((call) => ({ ...call, rawBody: call.rawBody.toString() })));
      case 'GET /sandbox/state':
        return ok(stateOf(sandbox, keys));
      case 'GET /sandbox/orders':
        return ok(sandbox.orders(url.searchParams.get('account') ?? ''));
      case 'POST /sandbox/faults': {
        const faults = readFaults(body);
        for (const fault of faults) sandbox.fault(fault);
        return ok({ added: faults.length });
      }
      case 'DELETE /sandbox/faults':
        sandbox.clearFaults();
        return ok({});
      case 'POST /sandbox/nonce': {
        const { key, nonce } = readNonce(body, keys);
        sandbox.raiseNonce(key, nonce);
        return ok({ key, nonce: sandbox.highestNonce(key) });
      }
      case 'POST /sandbox/settings': {
        const settings = readSettings(body);
        if (settings.callCounter !== undefined) sandbox.setCallCounter(settings.callCounter);
        if (settings.engineCounter !== undefined) sandbox.setEngineCounter(settings.engineCounter);
        if (settings.systemStatus !== undefined) sandbox.systemStatus = settings.systemStatus;
        return ok({});
      }
      case 'POST /sandbox/key': {
        const { key, settings } = readKeySettings(body, keys);
        sandbox.setKey(key, settings);
        return ok({});
      }
      default:
        return { status: 404, value: { error: 'no such control call' } };
    }
  } catch (error) {
    return { status: 400, value: { error: error instanceof Error ? error.message : 'bad request' } };
  }
}

function ok(value: unknown): ControlReply {
  return { status: 200, value };
}

function stateOf(sandbox: Sandbox, keys: readonly SandboxKey[]): unknown {
  return {
    receivedCount: sandbox.receivedCount,
    inFlight: sandbox.inFlight,
    maxInFlight: sandbox.maxInFlight,
    systemStatus: sandbox.systemStatus,
    rateLimited: sandbox.rateLimited,
    invalidNonces: sandbox.invalidNonces,
    accounts: Object.fromEntries(
      keys.map(({ account }) => [account, { engineCounter: engineCountersOf(sandbox, account) }]),
    ),
    keys: Object.fromEntries(
      keys.map(({ key }) => [
        key,
        {
          counter: sandbox.counter(key),
          inFlight: sandbox.inFlightOf(key),
          maxInFlight: sandbox.maxInFlightOf(key),
          highestNonce: sandbox.highestNonce(key) ?? null,
        },
      ]),
    ),
  };
}

/** By the pairs' altnames. */
function engineCountersOf(sandbox: Sandbox, account: string): Record<string, number> {
  return Object.fromEntries(
    allPairs().map(({ altname }) => [altname, sandbox.engineCounter(account, altname)]),
  );
}

const FAULT_FIELDS: Readonly<Record<string, 'string' | 'number'>> = {
  kind: 'string',
  endpoint: 'string',
  key: 'string',
  times: 'number',
  skip: 'number',
  delayMs: 'number',
  status: 'number',
  error: 'string',
  probability: 'number',
};

/** JSON has no Infinity: `"times": null` means all calls. */
function readFaults(body: Buffer): readonly Fault[] {
  const parsed: unknown = JSON.parse(body.toString());
  return (Array.isArray(parsed) ? parsed : [parsed]).map((value: unknown) => {
    const fields = recordOf(value);
    if (fields.times === null) fields.times = Infinity;
    for (const [name, field] of Object.entries(fields)) {
      if (typeof field !== FAULT_FIELDS[name]) throw new TypeError(`bad fault field ${name}`);
    }
    if (!FAULT_KINDS.some((kind) => kind === fields.kind)) {
      throw new TypeError(`kind must be one of ${FAULT_KINDS.join(', ')}`);
    }
    return fields as unknown as Fault;
  });
}

interface Settings {
  readonly callCounter?: boolean;
  readonly engineCounter?: boolean;
  readonly systemStatus?: SystemStatus;
}

function readSettings(body: Buffer): Settings {
  const settings = recordOf(JSON.parse(body.toString()));
  for (const [name, value] of Object.entries(settings)) {
    const good =
      name === 'systemStatus'
        ? SYSTEM_STATUSES.some((status) => status === value)
        : (name === 'callCounter' || name === 'engineCounter') && typeof value === 'boolean';
    if (!good) throw new TypeError(`bad setting ${name}`);
  }
  return settings;
}

function readNonce(body: Buffer, keys: readonly SandboxKey[]): { key: string; nonce: bigint } {
  const { key, nonce } = recordOf(JSON.parse(body.toString()));
  if (!isKeyOf(key, keys)) throw new TypeError('no such key');
  if (typeof nonce !== 'string' || !/^\d{1,19}$/.test(nonce))
    throw new TypeError('nonce must be decimal text');
  return { key, nonce: BigInt(nonce) };
}

function isKeyOf(key: unknown, keys: readonly SandboxKey[]): key is string {
  return keys.some((one) => one.key === key);
}

const isTexts = (value: unknown): boolean =>
  Array.isArray(value) && value.every((one: unknown) => typeof one === 'string');

/** What each setting of a key may be. */
const KEY_SETTINGS: Readonly<Record<string, (value: unknown) => boolean>> = {
  nonceWindow: (value) => typeof value === 'string' && /^\d{1,18}$/.test(value),
  permissions: isTexts,
  validUntil: (value) => Number.isSafeInteger(value) && Number(value) >= 0,
  ipAllowlist: isTexts,
  info: (value) =>
    Object.entries(recordOf(value)).every(([name, style]) =>
      INFO_STYLES[name]?.some((known) => known === style),
    ),
};

const INFO_STYLES: Readonly<Record<string, readonly string[]>> = {
  nonce: ['before', 'including'],
  lastUsed: ['before', 'including'],
  numbers: ['text', 'number'],
  names: ['snake', 'camel'],
};

function readKeySettings(body: Buffer, keys: readonly SandboxKey[]): { key: string; settings: KeySettings } {
  const { key, ...settings } = recordOf(JSON.parse(body.toString()));
  if (!isKeyOf(key, keys)) throw new TypeError('no such key');
  for (const [name, value] of Object.entries(settings)) {
    if (KEY_SETTINGS[name]?.(value) !== true) throw new TypeError(`bad setting ${name}`);
  }
  const { nonceWindow, ...others } = settings;
  const window = typeof nonceWindow === 'string' ? { nonceWindow: BigInt(nonceWindow) } : {};
  return { key, settings: { ...others, ...window } };
}

function recordOf(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) throw new TypeError('an object is needed');
  return { ...value };
}
