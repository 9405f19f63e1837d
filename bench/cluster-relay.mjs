import { connect, createServer } from 'node:net';

/**
 * Stands between nodes and their database and counts round trips: PostgreSQL ends its answer to each query, whatever it
 * holds, with one ReadyForQuery.
 */
export class Relay {
  #server;
  /** So far, of all connections. */
  roundTrips = 0;

  /** @param {string} url Of the database. */
  constructor(url) {
    const { hostname, port } = new URL(url);
    this.#server = createServer({ noDelay: true }, (near) => {
      const far = connect({ host: hostname, port: Number(port), noDelay: true });
      const count = counter(() => this.roundTrips++);
      far.on('data', count);
      near.pipe(far).pipe(near);
      for (const socket of [near, far]) {
        socket.on('error', () => undefined);
        socket.on('close', () => [near, far].forEach((one) => one.destroy()));
      }
    });
    this.#server.unref();
  }

  /** @returns {Promise<number>} The port, of 127.0.0.1. */
  async listen() {
    await new Promise((resolve) => this.#server.listen(0, '127.0.0.1', () => resolve(undefined)));
    const address = this.#server.address();
    return address !== null && typeof address === 'object' ? address.port : 0;
  }

  close() {
    this.#server.close();
  }
}

const READY_FOR_QUERY = 'Z'.charCodeAt(0);
const HEAD = 5;

/**
 * Reads messages, however they are cut: a byte for what it is, four for its length without that byte.
 * @param {() => void} onReady
 */
function counter(onReady) {
  let rest = Buffer.alloc(0);
  let skip = 0;
  return (/** @type {Buffer} */ chunk) => {
    rest = Buffer.concat([rest, chunk]);
    for (;;) {
      const skipped = Math.min(skip, rest.length);
      rest = rest.subarray(skipped);
      skip -= skipped;
      if (skip > 0 || rest.length < HEAD) return;
      if (rest[0] === READY_FOR_QUERY) onReady();
      skip = 1 + rest.readInt32BE(1);
    }
  };
}
