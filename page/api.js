// @ts-check
/** @import { ActReply, Call, HistoryReply, Status } from './types.js' */

const TOKEN = 'kraken-signing-proxy.token';
const ANSWER_MS = 10_000;
/** The doctor asks Kraken about every key, one after another. */
const ACT_MS = 60_000;

/** The proxy said no, or nothing at all (`status` 0). */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   * @param {ErrorOptions} [options]
   */
  constructor(status, message, options) {
    super(message, options);
    this.name = 'ApiError';
    this.status = status;
  }
}

/** The admin API. The token lives as long as the tab (sessionStorage), never longer. */
export class Api {
  /** @type {string | null} */
  #token = sessionStorage.getItem(TOKEN);

  get hasToken() {
    return this.#token !== null;
  }

  /** @param {string | null} token */
  setToken(token) {
    this.#token = token;
    if (token === null) sessionStorage.removeItem(TOKEN);
    else sessionStorage.setItem(TOKEN, token);
  }

  /** @returns {Promise<Status>} */
  status() {
    return this.#json('/v1/status');
  }

  /** @returns {Promise<Call[]>} newest first */
  async calls() {
    /** @type {{ calls: Call[] }} */
    const reply = await this.#json('/v1/calls?limit=200');
    return reply.calls;
  }

  /** @returns {Promise<HistoryReply>} */
  history() {
    return this.#json('/v1/history');
  }

  /**
   * @param {string} path
   * @param {Record<string, string>} body
   * @returns {Promise<ActReply>}
   */
  act(path, body) {
    return this.#json(path, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
      signal: AbortSignal.timeout(ACT_MS),
    });
  }

  /**
   * The stream of events, once its head is there.
   * @param {AbortSignal} signal
   * @returns {Promise<ReadableStream<Uint8Array>>}
   */
  async events(signal) {
    const response = await this.#ask('/v1/events', { signal, headers: { accept: 'text/event-stream' } });
    if (response.body === null) throw new ApiError(0, 'the proxy sent no events');
    return response.body;
  }

  /**
   * @param {string} path
   * @param {RequestInit} [options]
   * @returns {Promise<any>}
   */
  async #json(path, options = { signal: AbortSignal.timeout(ANSWER_MS) }) {
    const response = await this.#ask(path, options);
    try {
      return await response.json();
    } catch (error) {
      throw new ApiError(0, `the answer to ${path} did not come whole`, { cause: error });
    }
  }

  /**
   * @param {string} path
   * @param {RequestInit} options
   */
  async #ask(path, options) {
    const headers = new Headers(options.headers);
    if (this.#token !== null) headers.set('authorization', `Bearer ${this.#token}`);
    let response;
    try {
      response = await fetch(path, { ...options, headers, cache: 'no-store', credentials: 'omit' });
    } catch (error) {
      const why = error instanceof Error && error.name === 'TimeoutError' ? 'in time' : 'at all';
      throw new ApiError(
        0,
        `The proxy did not answer ${why}. It may have got the request: look before you repeat it.`,
      );
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }
}

/** @param {Response} response */
async function refusal(response) {
  const text = await response.text().catch(() => '');
  return new ApiError(response.status, messageOf(text) ?? `The proxy answered ${response.status}.`);
}

/**
 * The admin API's own words: `{"error":{"code","message"}}`.
 * @param {string} text
 * @returns {string | undefined}
 */
function messageOf(text) {
  try {
    const { error } = JSON.parse(text);
    if (typeof error === 'string') return error;
    return typeof error?.message === 'string' ? error.message : undefined;
  } catch {
    return undefined;
  }
}
