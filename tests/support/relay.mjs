/**
 * Relays TCP between ports of loopback and Unix sockets, which processes in other network namespaces reach too:
 * `node relay.mjs '[{"from":{"port":0},"to":{"path":"…"}}]'`. Prints the ports that it listens on, in order.
 */
import { connect, createServer } from 'node:net';

/** @typedef {{ host?: string, port: number } | { path: string }} Address */

/** @param {Address} address */
const onLoopback = (address) => ('port' in address ? { host: '127.0.0.1', ...address } : address);

/** @type {{ from: Address, to: Address }[]} */
const pairs = JSON.parse(process.argv[2] ?? '[]');
const ports = await Promise.all(
  pairs.map(
    ({ from, to }) =>
      new Promise((resolve, reject) => {
        const server = createServer((near) => {
          const far = connect(onLoopback(to));
          for (const [one, other] of [
            [near, far],
            [far, near],
          ]) {
            one.on('error', () => undefined);
            one.on('close', () => other.destroy());
            one.pipe(other);
          }
        });
        server.once('error', reject);
        server.listen(onLoopback(from), () => {
          const address = server.address();
          resolve(typeof address === 'object' ? address?.port : undefined);
        });
      }),
  ),
);
process.stdout.write(`${JSON.stringify(ports.map((port) => port ?? 0))}\n`);
// Its life is that of whoever started it.
process.stdin.resume().once('end', () => process.exit());
