import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Secret } from '../secret.js';
import { ApiError } from './api-error.js';
import { refuseForeignPages } from './headers.js';
import { networkOf } from './network.js';

/** A request that came with a wrong token. */
export interface BadToken {
  readonly address: string | undefined;
  /** Of this address within the minute; of one that is held up by the guesses of others, of all such. */
  readonly count: number;
  /** It was told to wait: too many wrong ones came before it. */
  readonly limited: boolean;
}

export interface AccessParts {
  /** Names the listener answers to. */
  readonly hosts: readonly string[];
  /** Nobody from another machine can connect. */
  readonly onLoopback: boolean;
  /** The token in force; undefined: none is configured. */
  readonly token: () => Secret | undefined;
  /** Whether a path is one of the page's files: they hold nothing that needs a token. */
  readonly isPage: (path: string) => boolean;
  /** Told of an address's first ten bad tokens in a minute, then of each that doubles their count: it is for a log. */
  readonly badToken: (attempt: BadToken) => void;
  /** Monotonic ms. Default: the process's own clock. */
  readonly now?: (() => number) | undefined;
}

/** For scrapers and orchestrators, which carry no token. They tell figures and reasons, and do nothing. */
const OPEN_PATHS: ReadonlySet<string> = new Set(['/healthz', '/readyz', '/metrics']);

const ACTS = { burst: 20, perSecond: 1 };
const READS = { burst: 50, perSecond: 50 };

/** Who may ask the operator's listener for what. Whatever is not known to be open needs what an act needs. */
export class OperatorAccess {
  readonly #parts: AccessParts;
  readonly #hosts: ReadonlySet<string>;
  readonly #guesses: TokenGuesses;
  readonly #acts: Allowance;
  readonly #reads: Allowance;

  constructor(parts: AccessParts) {
    const { hosts, now = () => performance.now() } = parts;
    this.#parts = parts;
    this.#hosts = new Set(hosts);
    this.#guesses = new TokenGuesses(now);
    this.#acts = new Allowance(ACTS, now);
    this.#reads = new Allowance(READS, now);
  }

  /**
   * Lets a request pass, or throws ApiError, or ProxyError `permission-denied` for a web page that is not ours.
   * `path` is the one that routes are chosen by, so that no spelling of it is judged as another.
   */
  admit(incoming: IncomingMessage, path: string): void {
    const { headers, method, url = '' } = incoming;
    const isRead = method === 'GET' || method === 'HEAD';
    refuseForeignPages(headers, this.#hosts, isRead && path === '/');
    this.#refuseForeignTarget(url);
    if (OPEN_PATHS.has(path)) return;
    const token = this.#parts.token();
    if (token === undefined) this.#refuseOthers(incoming);
    if (isRead && this.#parts.isPage(path)) return;
    if (token !== undefined) this.#prove(incoming, token);
    const waitSeconds = (isRead ? this.#reads : this.#acts).take();
    if (waitSeconds > 0) {
      throw new ApiError(
        'too-many',
        `too many ${isRead ? 'reads' : 'acts'} within a second; wait`,
        waitSeconds,
      );
    }
  }

  /** Whether whoever was let in with this Authorization would be now. */
  stillAdmits(authorization: string | undefined): boolean {
    const token = this.#parts.token();
    if (token === undefined) return this.#parts.onLoopback;
    const given = bearerOf(authorization);
    return given !== undefined && timingSafeEqual(digest(given), digest(token.reveal()));
  }

  /** The absolute form of a request's target (RFC 9112 3.2.2) names a host beside the Host header. */
  #refuseForeignTarget(url: string): void {
    if (url.startsWith('/') || !URL.canParse(url)) return;
    refuseForeignPages({ host: new URL(url).host }, this.#hosts, false);
  }

  /** Without a token, who can reach the listener may act: that has to be this machine alone. */
  #refuseOthers({ headers }: IncomingMessage): void {
    if (!this.#parts.onLoopback) {
      throw new ApiError(
        'forbidden',
        'the page and the admin API need a token where other machines can reach this listener: set ops.token in ' +
          'the config, or bind ops.host to 127.0.0.1',
      );
    }
    if (FORWARDED.some((name) => headers[name] !== undefined)) {
      throw new ApiError(
        'forbidden',
        'the request was forwarded by another server, so it may be from anywhere: set ops.token in the config',
      );
    }
  }

  #prove({ headers, socket }: IncomingMessage, token: Secret): void {
    const { remoteAddress: address } = socket;
    const given = bearerOf(headers.authorization);
    if (given === undefined) {
      throw new ApiError('unauthorized', 'this needs the header Authorization: Bearer <ops.token>');
    }
    // First of all: whoever else guesses from the same address must not shut the operator out.
    const hash = digest(given);
    if (timingSafeEqual(hash, digest(token.reveal()))) return;
    const blockedSeconds = this.#guesses.blockedSeconds(address);
    if (blockedSeconds > 0) {
      this.#tell(address, this.#guesses.again(address), true);
      throw new ApiError('too-many', 'too many wrong tokens; wait', blockedSeconds);
    }
    this.#tell(address, this.#guesses.wrong(address, hash), false);
    throw new ApiError('unauthorized', 'the token is not the one of ops.token');
  }

  #tell(address: string | undefined, count: number, limited: boolean): void {
    if (count <= TOLD || Number.isInteger(Math.log2(count)))
      this.#parts.badToken({ address, count, limited });
  }
}

const TOLD = 10;
const FORWARDED = ['forwarded', 'via', 'x-forwarded-for', 'x-real-ip'] as const;

/** Of the same length for every text, so that comparing tells nothing of a token's own. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function bearerOf(authorization: string | undefined): string | undefined {
  return /^bearer +(\S+) *$/i.exec(authorization ?? '')?.[1];
}

/** So many different wrong tokens are answered as such in a minute: from one address, and from all together. */
const GUESSES = 10;
const ALL_GUESSES = 200;
const GUESS_WINDOW_MS = 60_000;
/** More than can make a guess within a minute. */
const MAX_GUESSERS = 1_000;

interface Guesser {
  readonly from: number;
  readonly tried: string[];
  count: number;
}

/**
 * Counts wrong tokens, and tells those who send ever new ones to wait. What keeps a token from being guessed is its
 * length; this keeps who tries from going unnoticed and from filling the log. One that comes again is no further
 * guess: a script with an old token goes on being told that it is wrong.
 */
class TokenGuesses {
  readonly #now: () => number;
  /** By network, the one that began to guess last at the end. */
  readonly #guessers = new Map<string, Guesser>();
  #all = { from: -Infinity, count: 0, turnedAway: 0 };

  constructor(now: () => number) {
    this.#now = now;
  }

  /** How long a wrong token's sender has to wait, s; 0: not at all yet. */
  blockedSeconds(address: string | undefined): number {
    const guesser = this.#guesserOf(networkOf(address));
    const own = guesser !== undefined && guesser.tried.length >= GUESSES ? this.#leftMs(guesser.from) : 0;
    const all = this.#all.count >= ALL_GUESSES ? this.#leftMs(this.#all.from) : 0;
    return Math.max(own, all) / 1_000;
  }

  /** Notes a wrong token whose sender has to wait; gives the count to tell of. */
  again(address: string | undefined): number {
    const guesser = this.#guesserOf(networkOf(address));
    return guesser === undefined ? ++this.#all.turnedAway : ++guesser.count;
  }

  /** Notes a wrong token; gives how many bad ones came from the address within the minute. */
  wrong(address: string | undefined, hash: Buffer): number {
    const network = networkOf(address);
    let guesser = this.#guesserOf(network);
    if (guesser === undefined) {
      guesser = { from: this.#now(), tried: [], count: 0 };
      this.#guessers.delete(network); // to the end
      this.#guessers.set(network, guesser);
      dropOldest(this.#guessers, MAX_GUESSERS);
    }
    const guess = hash.toString('latin1');
    if (!guesser.tried.includes(guess)) {
      guesser.tried.push(guess);
      if (this.#leftMs(this.#all.from) === 0) {
        this.#all = { from: this.#now(), count: 0, turnedAway: 0 };
      }
      this.#all.count++;
    }
    return ++guesser.count;
  }

  #guesserOf(network: string): Guesser | undefined {
    const guesser = this.#guessers.get(network);
    return guesser === undefined || this.#leftMs(guesser.from) === 0 ? undefined : guesser;
  }

  #leftMs(from: number): number {
    return Math.max(0, from + GUESS_WINDOW_MS - this.#now());
  }
}

function dropOldest(kept: Map<string, unknown>, max: number): void {
  for (const oldest of kept.keys()) {
    if (kept.size <= max) return;
    kept.delete(oldest);
  }
}

/** A token bucket: `burst` at once, and `perSecond` more each second. */
class Allowance {
  readonly #burst: number;
  readonly #perSecond: number;
  readonly #now: () => number;
  #left: number;
  #at: number;

  constructor(
    { burst, perSecond }: { readonly burst: number; readonly perSecond: number },
    now: () => number,
  ) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#now = now;
    this.#left = burst;
    this.#at = now();
  }

  /** Takes one; 0. Or takes none: until there is one, s. */
  take(): number {
    const now = this.#now();
    this.#left = Math.min(this.#burst, this.#left + ((now - this.#at) / 1_000) * this.#perSecond);
    this.#at = now;
    if (this.#left < 1) return (1 - this.#left) / this.#perSecond;
    this.#left--;
    return 0;
  }
}
