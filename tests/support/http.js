import { Agent } from 'node:http';
import { rawRequest } from './sign.js';
/** A client program: keeps its connections, signs nothing. */
export class TestClient {
  #agent = new Agent({ keepAlive: true, maxSockets: 64 });
  #url;
  #headers;
  constructor(url, headers = {}) {
    this.#url = url;
    this.#headers = headers;
  }
  /** A private call with a form body. */
  private(endpoint, fields = {}, prefix = '') {
    const body = new URLSearchParams(fields).toString();
    const headers = { 'content-type': 'application/x-www-form-urlencoded', ...this.#headers };
    return rawRequest(this.#url, `${prefix}/0/private/${endpoint}`, 'POST', body, headers, this.#agent);
  }
  /** Any request, its bytes as given. */
  raw(method, path, body = '', headers = {}) {
    return rawRequest(this.#url, path, method, body, { ...this.#headers, ...headers }, this.#agent);
  }
  close() {
    this.#agent.destroy();
  }
}
