import https from 'node:https';

/**
 * From now on every https host on port 443 is at `url`, as if DNS said so and the port were the same: for
 * libraries that have their host as a constant. Names stay what they are, in SNI, in the check of the
 * certificate and in Host. `ca` is whom to trust, by default whom Node trusts. Returns what ends it.
 */
export function mapHttpsTo(url, ca) {
  const { hostname, port } = new URL(url);
  const before = https.globalAgent;
  https.globalAgent = new (class extends https.Agent {
    createConnection(options, ...rest) {
      const where = options.port === 443 ? { host: hostname, port: Number(port) } : {};
      return super.createConnection({ ...options, ...where }, ...rest);
    }
  })({ keepAlive: true, ca });
  return () => {
    https.globalAgent.destroy();
    https.globalAgent = before;
  };
}
