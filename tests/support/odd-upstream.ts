import { createServer, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';

/** An upstream on a real socket that answers with bytes of the test's own. */
export interface OddUpstream {
  readonly url: string;
  /** Requests so far, each as it came, head and body. */
  readonly requests: readonly string[];
  close(): Promise<void>;
}

/**
 * Opens an upstream that answers every request with `answer`, byte by byte as given: for what the sandbox,
 * which speaks correct HTTP and sets no cookies, never sends. It takes bodies with a content-length only.
 */
export async function openOddUpstream(answer: string | Buffer): Promise<OddUpstream> {
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    let text = '';
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      const headEnd = text.indexOf('\r\n\r\n');
      if (headEnd < 0) return;
      const length = Number(/\r\ncontent-length: *(\d+)/i.exec(text)?.[1] ?? 0);
      if (text.length < headEnd + 4 + length) return;
      requests.push(text);
      text = '';
      socket.write(answer);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
