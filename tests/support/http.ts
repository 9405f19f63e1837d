import { Agent } from 'node:http';
import { rawRequest, type SignedReply } from './sign.js';

/** A client program: keeps its connections, signs nothing. */
export class TestClient {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 64 });
  readonly #url: string;
  readonly #headers: Readonly<Record<string, string>>;

  constructor(url: string, headers: Readonly<Record<string, string>> = {}) {
    this.#url = url;
    this.#headers = headers;
  }

  /** A private call with a form body. */
  private(
    endpoint: string,
    fields: Readonly<Record<string, string>> = {},
    prefix = '',
  ): Promise<SignedReply> {
    const body = new URLSearchParams(fields).toString();
    const headers = { 'content-type': 'application/x-www-form-urlencoded', ...this.#headers };
    return rawRequest(this.#url, `${prefix}/0/private/${endpoint}`, 'POST', body, headers, this.#agent);
  }

  /** Any request, its bytes as given. */
  raw(
    method: string,
    path: string,
    body: string | Buffer = '',
    headers: Readonly<Record<string, string>> = {},
  ): Promise<SignedReply> {
    return rawRequest(this.#url, path, method, body, { ...this.#headers, ...headers }, this.#agent);
  }

  close(): void {
    this.#agent.destroy();
  }
}
