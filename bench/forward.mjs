/**
 * Child process: the rival, `http-proxy` as a bare forward that signs, queues and guards nothing, once with a
 * keep-alive agent and once as it comes. `node forward.mjs <upstream>`; tells its parent both addresses.
 */
import http from 'node:http';
import httpProxy from 'http-proxy';

const target = process.argv[2] ?? '';

/**
 * @param {http.Agent} [agent]
 * @returns {Promise<string>}
 */
async function openForward(agent) {
  const forward = httpProxy.createProxyServer(agent === undefined ? { target } : { target, agent });
  forward.on('error', (error, _, response) => {
    if (response instanceof http.ServerResponse) response.writeHead(502);
    response.end(error.message);
  });
  const server = http.createServer({ keepAliveTimeout: 60_000 }, (request, response) =>
    forward.web(request, response),
  );
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('not listening on a port');
  return `http://127.0.0.1:${address.port}`;
}

process.on('disconnect', () => process.exit(0));
process.send?.({
  keepAlive: await openForward(new http.Agent({ keepAlive: true })),
  asItComes: await openForward(),
});
