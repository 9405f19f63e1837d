import { realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { bindHost, hostsCollide, isLoopback } from './addresses.js';
import { kindOf, nameText, valueText, type ConfigMistake } from './mistakes.js';
import { at, objectAt } from './raw-values.js';

/** Mistakes that lie between two options. Works on the raw config, which may be wrong elsewhere. */
export function relationMistakes(raw: unknown): ConfigMistake[] {
  const mistakes: ConfigMistake[] = [...reachMistakes(raw), ...storeMistakes(raw)];
  const ports = [at(raw, ['listen', 'port']) ?? 8787, at(raw, ['ops', 'port']) ?? 8788];
  const hosts = [at(raw, ['listen', 'host']) ?? '127.0.0.1', at(raw, ['ops', 'host']) ?? '127.0.0.1'];
  const [one, other] = hosts;
  if (ports[0] === ports[1] && ports[0] !== 0 && typeof one === 'string' && typeof other === 'string') {
    if (hostsCollide(one, other)) {
      const expected = 'a port of its own: the two listeners cannot share one';
      mistakes.push({
        path: 'ops.port',
        found: `${valueText(ports[1])}, which is also listen.port`,
        expected,
      });
    }
  }
  const name = at(raw, ['defaultAccount']);
  const accounts = at(raw, ['accounts']);
  if (
    typeof name === 'string' &&
    typeof accounts === 'object' &&
    accounts !== null &&
    !Object.hasOwn(accounts, name)
  ) {
    const known = Object.keys(accounts).map(nameText).join(', ');
    const expected = `one of the accounts${known === '' ? '' : `: ${known}`}`;
    mistakes.push({ path: 'defaultAccount', found: valueText(name), expected });
  }
  return mistakes;
}

/** Whoever can reach the proxy from another machine has to prove who it is, and not in the open by accident. */
function reachMistakes(raw: unknown): ConfigMistake[] {
  const host = at(raw, ['listen', 'host']) ?? '127.0.0.1';
  if (typeof host !== 'string' || bindHost(host) === undefined || isLoopback(host)) return [];
  const mistake = (expected: string): ConfigMistake[] => [
    { path: 'listen.host', found: valueText(host), expected },
  ];
  if (at(raw, ['clients']) === undefined) {
    return mistake(
      'a loopback address (127.0.0.0/8, ::1 or localhost), or "clients": without clients the proxy serves loopback only',
    );
  }
  if (at(raw, ['listen', 'tls']) !== undefined || at(raw, ['listen', 'insecure']) === true) return [];
  return mistake(
    'a loopback address, or listen.tls; listen.insecure: true serves plain HTTP, which others on the network can read and repeat',
  );
}

/** The file is one process's at a time; the database is shared by all that know its url. */
function storeMistakes(raw: unknown): ConfigMistake[] {
  const store = at(raw, ['nonce', 'store']) ?? 'file';
  const url = at(raw, ['nonce', 'url']);
  if (store === 'file' && url !== undefined) {
    const expected = 'nothing, or nonce.store: "postgres", which it is for';
    return [{ path: 'nonce.url', found: kindOf(url), expected }];
  }
  if (store !== 'postgres') return [];
  const mistakes: ConfigMistake[] = [];
  if (url === undefined) {
    const expected =
      '{ "env": "NAME" } or { "file": "path" }, the database that nonce.store: "postgres" is kept in';
    mistakes.push({ path: 'nonce.url', found: 'nothing', expected });
  }
  if (at(raw, ['nonce', 'standby']) === true) {
    const expected = 'false: with nonce.store: "postgres" every proxy serves, and none waits for another';
    mistakes.push({ path: 'nonce.standby', found: 'true', expected });
  }
  return mistakes;
}

/** The journal must not take the place of a file that has another use, by whatever path. */
export function journalMistakes(
  raw: unknown,
  config: string,
  fromFolder: (path: string) => string,
): ConfigMistake[] {
  const file = at(raw, ['journal', 'file']);
  const state = at(raw, ['nonce', 'file']) ?? 'data/kraken_global_nonce.txt';
  if (typeof file !== 'string' || typeof state !== 'string') return [];
  const real = (path: string): string => realPath(fromFolder(path));
  const [journal, nonces] = [real(file), real(state)];
  const others = { ...objectAt(raw, []), journal: undefined };
  const taken = [config, ...filesIn(others)].map(real);
  const beside = journal.startsWith(nonces) ? journal.slice(nonces.length) : undefined;
  // What lies in its locks would keep them from being given back, and the next start clears its temporary files away.
  const isOfState =
    beside !== undefined && (!beside.endsWith('.jsonl') || /^\.(lock|gate)[/\\]|\.tmp-/.test(beside));
  if (!isOfState && !taken.includes(journal)) return [];
  const expected =
    'a file of its own, which nothing else in this config names, nor the nonce state nor one of those beside it';
  return [{ path: 'journal.file', found: valueText(file), expected }];
}

/** Every file that options name: `file`, `certFile`, … */
function filesIn(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, each]) =>
    typeof each === 'string' ? (/file$/i.test(name) ? [each] : []) : filesIn(each),
  );
}

/** Without links, as far as there is something at the path. */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return dirname(path) === path ? path : join(realPath(dirname(path)), basename(path));
  }
}
