import { Agent, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { POLL_MS, THROUGH, type ClusterNode } from './cluster-world.js';

/** A client library's own. */
const TIMEOUT_MS = 10_000;

/** What a node answered. */
export interface Answered {
  readonly node: ClusterNode;
  readonly status: number;
  /** `X-Proxy-Error`; empty without one. */
  readonly code: string;
  readonly error: readonly string[];
  readonly result: unknown;
}

/** The request was on its way, and no whole answer came. */
export class LostCall extends Error {
  readonly node: ClusterNode | undefined;
  /** `ECONNRESET`, `TIMEOUT`…; `NOBODY` when no node could be reached, so that nothing was sent. */
  readonly code: string;

  constructor(node: ClusterNode | undefined, code: string) {
    super(`${node?.name ?? 'no node'}: ${code}`);
    this.node = node;
    this.code = code;
  }
}

/**
 * What an operator puts in front of several proxies: asks each whether it is ready ten times a second, and gives calls
 * to those that are, in turn. Where no node is ready it tries all of them. A connection that is refused goes to the
 * next node; everything else is the answer, or a lost call.
 */
export class Balancer {
  readonly #nodes: readonly ClusterNode[];
  readonly #ready = new Set<ClusterNode>();
  readonly #agent = new Agent({ keepAlive: true });
  readonly #watching: Promise<void>[];
  #turn = 0;
  #isClosed = false;

  private constructor(nodes: readonly ClusterNode[]) {
    this.#nodes = nodes;
    this.#watching = nodes.map((node) => this.#watch(node));
  }

  /** In front of nodes that are all ready. */
  static open(nodes: readonly ClusterNode[]): Balancer {
    const balancer = new Balancer(nodes);
    for (const node of nodes) balancer.#ready.add(node);
    return balancer;
  }

  get ready(): readonly ClusterNode[] {
    return [...this.#ready];
  }

  /** Rejects with LostCall. */
  async call(endpoint: string, fields: Readonly<Record<string, string>> = {}): Promise<Answered> {
    const candidates = this.#ready.size > 0 ? this.ready : this.#nodes;
    const first = this.#turn++ % candidates.length;
    for (const node of [...candidates.slice(first), ...candidates.slice(0, first)]) {
      try {
        return await this.callAt(node, endpoint, fields);
      } catch (error) {
        if (!(error instanceof LostCall) || error.code !== 'ECONNREFUSED') throw error;
      }
    }
    throw new LostCall(undefined, 'NOBODY');
  }

  /** A call at one node, ready or not. */
  async callAt(
    node: ClusterNode,
    endpoint: string,
    fields: Readonly<Record<string, string>> = {},
    timeoutMs = TIMEOUT_MS,
  ): Promise<Answered> {
    const { url } = node;
    if (url === undefined) throw new LostCall(node, 'ECONNREFUSED');
    const { hostname, port } = new URL(url);
    const body = new URLSearchParams(fields).toString();
    return await new Promise((resolve, reject) => {
      const fail = (error: NodeJS.ErrnoException): void =>
        reject(new LostCall(node, error.code ?? error.message));
      const headers = {
        'content-type': 'application/x-www-form-urlencoded',
        'content-length': Buffer.byteLength(body),
        [THROUGH]: node.name,
      };
      const options = { agent: this.#agent, hostname, port, headers, method: 'POST' };
      const asked = request({ ...options, path: `/0/private/${endpoint}` }, (reply) => {
        const chunks: Buffer[] = [];
        reply.on('data', (chunk: Buffer) => chunks.push(chunk));
        reply.once('error', fail);
        reply.once('end', () => {
          const text = Buffer.concat(chunks).toString();
          const { error, result } = JSON.parse(text) as { error: string[]; result?: unknown };
          const code = String(reply.headers['x-proxy-error'] ?? '');
          resolve({ node, status: reply.statusCode ?? 0, code, error, result });
        });
      });
      const timer = setTimeout(
        () => asked.destroy(Object.assign(new Error(), { code: 'TIMEOUT' })),
        timeoutMs,
      );
      asked.once('close', () => clearTimeout(timer));
      asked.once('error', fail);
      asked.end(body);
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all(this.#watching);
    this.#agent.destroy();
  }

  async #watch(node: ClusterNode): Promise<void> {
    while (!this.#isClosed) {
      await delay(POLL_MS);
      const { status } = await node.readiness();
      if (status === 200) this.#ready.add(node);
      else this.#ready.delete(node);
    }
  }
}
