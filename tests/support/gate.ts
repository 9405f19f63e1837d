import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** A TCP relay in front of an upstream, with which a test decides when answers come through. */
export interface Gate {
  readonly url: string;
  /** Where it leads; to be set before the first connection. */
  leadTo(url: string): void;
  /** From now on answers wait at the gate; requests pass. */
  shut(): void;
  /** Lets the answers that wait, and all later ones, through. */
  open(): void;
  close(): Promise<void>;
}

/** Opens a gate on a free port of loopback; its answers pass. */
export async function openGate(): Promise<Gate> {
  let target = new URL('http://127.0.0.1:1');
  let shut = false;
  const behind = new Set<Socket>();
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(Number(target.port), target.hostname);
    far.on('data', (chunk) => near.write(chunk));
    near.on('data', (chunk) => far.write(chunk));
    behind.add(far);
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        sockets.delete(socket);
        behind.delete(socket);
        other.destroy();
      });
    }
    if (shut) far.pause();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    leadTo: (url) => {
      target = new URL(url);
    },
    shut: () => {
      shut = true;
      for (const socket of behind) socket.pause();
    },
    open: () => {
      shut = false;
      for (const socket of behind) socket.resume();
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
