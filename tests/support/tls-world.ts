import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TestAuthority, type Pair } from './certificates.js';
import { openGate, type Gate } from './gate.js';
import { Scrape } from './metrics.js';
import { openProxyWorld, type ProxyWorld } from './proxy-world.js';

/** A proxy that listens with TLS, in front of a gate and the strict sandbox. */
export interface TlsWorld extends ProxyWorld {
  readonly gate: Gate;
  /** What vouches for the proxy's certificate. */
  readonly ca: string;
  /** Calls in the lane: those that wait, and those in turn. */
  lane(): Promise<{ readonly waiting: number; readonly inFlight: number }>;
}

/** `listen`: other parts of the config's `listen`; `upstream`: instead of the gate. */
export async function openTlsWorld(listen: object, upstream?: string): Promise<TlsWorld> {
  const authority = new TestAuthority();
  const files = new CertificateFolder(authority.server());
  const tls = { certFile: files.path('cert.pem'), keyFile: files.path('key.pem') };
  const gate = await openGate();
  const world = await openProxyWorld({
    config: { listen: { ...listen, tls }, upstream: { url: upstream ?? gate.url } },
  });
  gate.leadTo(world.sandbox.url);
  return {
    ...world,
    gate,
    ca: authority.cert,
    lane: async () => {
      const scrape = await Scrape.of(world.opsUrl);
      return { waiting: scrape.value('lane_waiting'), inFlight: scrape.value('lane_in_flight') };
    },
    close: async () => {
      gate.open();
      await world.close();
      await gate.close();
      files.remove();
    },
  };
}

/** A folder of PEM files. */
export class CertificateFolder {
  readonly folder = mkdtempSync(join(tmpdir(), 'certificates-'));

  constructor(server: Pair, clientCa?: string) {
    this.write('cert.pem', server.cert);
    this.write('key.pem', server.key);
    if (clientCa !== undefined) this.write('ca.pem', clientCa);
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  write(name: string, text: string): void {
    writeFileSync(this.path(name), text);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
