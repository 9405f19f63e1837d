import { Agent, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

/** @typedef {import('./chance.mjs').Chance} Chance */
/** @typedef {import('./mortal-proxy.mjs').MortalProxies} MortalProxies */

/**
 * What a bot knows in the end of something it asked for: it was told that it was done, or that it was not, or it does
 * not know.
 * @typedef {{ kind: 'done', result: any } | { kind: 'not-done', error: string } | { kind: 'unknown', why: string }} Told
 */

/**
 * An order that a bot tried to place. Its volume is no other order's, so that it can be told without an id.
 * @typedef {object} Order
 * @property {string} volume
 * @property {Call} call The call that was to place it.
 * @property {boolean} rests
 * @property {string | undefined} clientId
 * @property {Told} told
 * @property {string | undefined} txid
 * @property {{ price: string, call: Call }[]} amends
 * @property {Call[]} cancels
 * @property {Call[]} edits That were to put another order in its place.
 */

/**
 * One attempt at a call: what was answered, or how it failed.
 * @typedef {object} Attempt
 * @property {number} at Wall clock, ms.
 * @property {number} ms
 * @property {string} proxy
 * @property {number} life The proxies', when it was sent.
 * @property {Answer | undefined} answer
 * @property {string | undefined} failure
 */

/**
 * @typedef {object} Answer
 * @property {number} status
 * @property {string} body
 * @property {string} code `X-Proxy-Error`.
 * @property {string} requestId
 * @property {string} outcome `X-Proxy-Outcome`.
 * @property {boolean} isReplayed
 */

/**
 * A call of a bot's, sent as often as it takes.
 * @typedef {object} Call
 * @property {string} bot
 * @property {string} account
 * @property {string} endpoint
 * @property {'cl_ord_id' | 'idempotency-key' | 'none'} id
 * @property {Record<string, string>} headers
 * @property {string} body
 * @property {Attempt[]} attempts
 * @property {Told} told
 */

/** A client library's own. */
const TIMEOUT_MS = 10_000;
/** No call takes so long; a bot that waits longer is stuck. */
const PATIENCE_MS = 90_000;
const AGAIN_MS = 300;
/** The share of calls that go to another proxy than the one before, where there are several. */
const MOVES = 0.2;
/** More are cancelled: Kraken allows no more than some dozens either. */
const MOST_OPEN = 8;
/** @type {Told} */
const NOT_YET = { kind: 'unknown', why: 'not sent yet' };

/** What all bots share: numbers that no two orders have in common, and the book of all that was asked for. */
export class Book {
  /** @type {Order[]} */
  orders = [];
  /** @type {Call[]} */
  calls = [];
  #left;
  #volumes = 0;
  #prices = 0;

  /** @param {number} orders */
  constructor(orders) {
    this.#left = orders;
  }

  get isFull() {
    return this.#left <= 0;
  }

  /**
   * A new order of a call.
   * @param {Call} call
   * @param {{ rests: boolean, clientId?: string | undefined, volume: string }} terms
   * @returns {Order}
   */
  open(call, { rests, clientId, volume }) {
    this.#left -= 1;
    const order = {
      volume,
      call,
      rests,
      clientId,
      told: NOT_YET,
      txid: undefined,
      amends: [],
      cancels: [],
      edits: [],
    };
    this.orders.push(order);
    return order;
  }

  /** @param {boolean} isAffordable */
  volume(isAffordable = true) {
    const number = this.#volumes++;
    return isAffordable ? `0.00${100_000 + number}` : `${50_000_000 + number}.00000000`;
  }

  /** Far below the market: such an order rests. */
  price() {
    return (20_000 + this.#prices++ / 10).toFixed(1);
  }
}

/** A program that places, changes and cancels orders, one call after the other, and behaves when it is not answered. */
export class Bot {
  /** @type {Order[]} Those it believes to be open. */
  #open = [];
  #calls = 0;
  #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  #proxy;

  /**
   * @param {{ name: string, account: string, chance: Chance, book: Book, proxies: MortalProxies }} parts
   */
  constructor(parts) {
    this.name = parts.name;
    this.parts = parts;
    this.#proxy = parts.proxies.other(parts.chance);
  }

  async run() {
    while (!this.parts.book.isFull) await this.#step();
    this.#agent.destroy();
  }

  async #step() {
    const { chance } = this.parts;
    const draw = chance.next();
    const target = chance.oneOf(this.#open);
    if (this.#open.length > MOST_OPEN) await this.#cancel(/** @type {Order} */ (this.#open[0]));
    else if (draw < 0.16) await this.#batch();
    else if (draw < 0.26 && target !== undefined) await this.#amend(target);
    else if (draw < 0.33 && target !== undefined) await this.#edit(target);
    else if (draw < 0.39 && target !== undefined) await this.#cancel(target);
    else await this.#add();
  }

  async #add() {
    const { chance, book } = this.parts;
    const rests = chance.next() < 0.5;
    const isAffordable = chance.next() < 0.95;
    const call = this.#call('AddOrder', ['cl_ord_id', 'idempotency-key', 'none']);
    const clientId = call.id === 'cl_ord_id' ? this.#newId() : undefined;
    const order = book.open(call, { rests, clientId, volume: book.volume(isAffordable) });
    call.body = form({
      pair: 'XBTUSD',
      type: 'buy',
      ordertype: rests ? 'limit' : 'market',
      volume: order.volume,
      ...(rests ? { price: book.price() } : {}),
      ...(clientId === undefined ? {} : { cl_ord_id: clientId }),
    });
    const told = await this.#settle(call);
    this.#noteOrder(order, told, told.kind === 'done' ? told.result.txid?.[0] : undefined);
  }

  async #batch() {
    const { chance, book } = this.parts;
    const call = this.#call('AddOrderBatch', ['cl_ord_id', 'idempotency-key', 'none']);
    const orders = Array.from({ length: 2 + Math.floor(chance.next() * 7) }, () => {
      const clientId = call.id === 'cl_ord_id' ? this.#newId() : undefined;
      const volume = book.volume(chance.next() < 0.97);
      return book.open(call, { rests: chance.next() < 0.4, clientId, volume });
    });
    call.headers['content-type'] = 'application/json';
    call.body = JSON.stringify({
      pair: 'XBTUSD',
      orders: orders.map(({ rests, clientId, volume }) => ({
        ...(clientId === undefined ? {} : { cl_ord_id: clientId }),
        ordertype: rests ? 'limit' : 'market',
        type: 'buy',
        volume,
        ...(rests ? { price: book.price() } : {}),
      })),
    });
    const told = await this.#settle(call);
    orders.forEach((order, index) => {
      const own = told.kind === 'done' ? told.result.orders?.[index] : undefined;
      if (own?.error !== undefined) order.told = { kind: 'not-done', error: String(own.error) };
      else this.#noteOrder(order, told, own?.txid);
    });
  }

  /** @param {Order} order */
  async #amend(order) {
    const { chance, book } = this.parts;
    const call = this.#call('AmendOrder', ['idempotency-key', 'idempotency-key', 'none']);
    const price = book.price();
    const byClientId = order.clientId !== undefined && chance.next() < 0.5;
    order.amends.push({ price, call });
    call.body = form({
      ...(byClientId ? { cl_ord_id: order.clientId } : { txid: order.txid }),
      limit_price: price,
    });
    await this.#settle(call);
  }

  /** @param {Order} order */
  async #edit(order) {
    const { book } = this.parts;
    const call = this.#call('EditOrder', ['idempotency-key', 'idempotency-key', 'none']);
    const edited = book.open(call, { rests: true, volume: book.volume() });
    order.edits.push(call);
    const price = book.price();
    call.body = form({ pair: 'XBTUSD', txid: order.txid, volume: edited.volume, price });
    const told = await this.#settle(call);
    if (told.kind !== 'not-done') this.#open = this.#open.filter((one) => one !== order);
    this.#noteOrder(edited, told, told.kind === 'done' ? told.result.txid : undefined);
  }

  /** @param {Order} order */
  async #cancel(order) {
    const call = this.#call('CancelOrder', ['idempotency-key', 'none', 'none']);
    order.cancels.push(call);
    this.#open = this.#open.filter((one) => one !== order);
    call.body = form({ txid: order.txid });
    await this.#settle(call);
  }

  /** @param {Order} order @param {Told} told @param {string | undefined} txid */
  #noteOrder(order, told, txid) {
    order.told = told;
    order.txid = txid;
    if (txid !== undefined && order.rests) this.#open.push(order);
  }

  /** @param {string} endpoint @param {Call['id'][]} ids @returns {Call} */
  #call(endpoint, ids) {
    const { chance, book, account } = this.parts;
    const id = chance.oneOf(ids);
    /** @type {Record<string, string>} */
    const headers = { 'api-key': this.name, 'content-type': 'application/x-www-form-urlencoded' };
    if (id === 'idempotency-key') headers['idempotency-key'] = this.#newId();
    const call = { bot: this.name, account, endpoint, id, headers, body: '', attempts: [], told: NOT_YET };
    book.calls.push(call);
    return call;
  }

  #newId() {
    return `${this.name}-${(this.#calls++).toString().padStart(6, '0')}`;
  }

  /** Sends a call until it is told what became of it, as far as it may. @param {Call} call */
  async #settle(call) {
    const { chance, proxies } = this.parts;
    const over = performance.now() + PATIENCE_MS;
    let perhapsSince = 0;
    if (chance.next() < MOVES) this.#move();
    while (performance.now() < over) {
      if (call.id === 'none' && perhapsSince !== 0 && proxies.life !== perhapsSince)
        return (call.told = { kind: 'unknown', why: 'no id, and a proxy was killed' });
      const { life } = proxies;
      const attempt = await this.#send(call);
      const told = toldBy(attempt);
      if (told.kind === 'done') return (call.told = told);
      if (told.kind === 'not-done') {
        // Busy says that it may come again; some do, some do not.
        if (!told.error.startsWith('EService:Busy') || chance.next() < 0.5) return (call.told = told);
      } else if (told.why === 'lost' && call.id === 'none') {
        return (call.told = { kind: 'unknown', why: `no id, and the connection failed: ${attempt.failure}` });
      } else if (told.why !== 'not sent' && perhapsSince === 0) perhapsSince = life;
      this.#move();
      await delay(AGAIN_MS);
    }
    return (call.told = { kind: 'unknown', why: 'was never told' });
  }

  /** The next attempt goes to another proxy. */
  #move() {
    const { proxies, chance } = this.parts;
    this.#proxy = proxies.other(chance, this.#proxy);
  }

  /** @param {Call} call @returns {Promise<Attempt>} */
  async #send(call) {
    const { life } = this.parts.proxies;
    const started = performance.now();
    const proxy = this.#proxy.name;
    /** @type {Attempt} */
    const attempt = { at: Date.now(), ms: 0, proxy, life, answer: undefined, failure: undefined };
    try {
      attempt.answer = await this.#exchange(call);
    } catch (error) {
      attempt.failure = /** @type {NodeJS.ErrnoException} */ (error).code ?? String(error);
    }
    attempt.ms = performance.now() - started;
    // Nobody listens while the proxy starts: that is no attempt.
    if (attempt.failure !== 'ECONNREFUSED') call.attempts.push(attempt);
    return attempt;
  }

  /** @param {Call} call @returns {Promise<Answer>} */
  #exchange({ endpoint, headers, body }) {
    return new Promise((resolve, reject) => {
      const options = {
        agent: this.#agent,
        host: '127.0.0.1',
        port: this.#proxy.port,
        method: 'POST',
        path: `/0/private/${endpoint}`,
        headers: { ...headers, 'content-length': Buffer.byteLength(body), 'x-through': this.#proxy.name },
      };
      const asked = request(options, (reply) => {
        /** @type {Buffer[]} */
        const chunks = [];
        reply.on('data', (chunk) => chunks.push(chunk));
        reply.once('error', reject);
        reply.once('end', () => {
          if (!reply.complete) reject(Object.assign(new Error('half a reply'), { code: 'HALF' }));
          else resolve(answerOf(reply, Buffer.concat(chunks).toString()));
        });
      });
      const timer = setTimeout(
        () => asked.destroy(Object.assign(new Error('timeout'), { code: 'OWN_TIMEOUT' })),
        TIMEOUT_MS,
      );
      asked.once('close', () => clearTimeout(timer));
      asked.once('error', reject);
      asked.end(body);
    });
  }
}

/** @param {import('node:http').IncomingMessage} reply @param {string} body @returns {Answer} */
function answerOf({ statusCode = 0, headers }, body) {
  const text = (/** @type {string} */ name) => String(headers[name] ?? '');
  return {
    status: statusCode,
    body,
    code: text('x-proxy-error'),
    requestId: text('x-request-id'),
    outcome: text('x-proxy-outcome'),
    isReplayed: text('idempotent-replayed') === 'true',
  };
}

/**
 * What one attempt tells. Unknown has three reasons: `not sent` (this attempt certainly was not; it says nothing of
 * those before), `lost` (the connection broke) and `doubt` (the proxy does not know, or the bot waited long enough).
 * @param {Attempt} attempt
 * @returns {Told}
 */
function toldBy({ answer, failure }) {
  if (failure === 'ECONNREFUSED') return { kind: 'unknown', why: 'not sent' };
  if (failure === 'OWN_TIMEOUT') return { kind: 'unknown', why: 'doubt' };
  if (answer === undefined) return { kind: 'unknown', why: 'lost' };
  const { error, result } = JSON.parse(answer.body);
  if (error.length === 0) return { kind: 'done', result };
  const text = String(error[0]);
  if (text === 'EProxy:Outcome unknown') return { kind: 'unknown', why: 'doubt' };
  if (answer.code === 'not-owner' || answer.code === 'upstream-unreachable')
    return { kind: 'unknown', why: 'not sent' };
  return { kind: 'not-done', error: text };
}

/** @param {Record<string, string | undefined>} fields */
function form(fields) {
  return new URLSearchParams(/** @type {Record<string, string>} */ (fields)).toString();
}
