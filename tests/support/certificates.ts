import { generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';
import { isIP } from 'node:net';

/** Subject attributes in their order; a name may come twice. */
export type Subject = readonly (readonly [name: keyof typeof ATTRIBUTES, value: string])[];

/** A certificate and its key, both PEM. */
export interface Pair {
  readonly cert: string;
  readonly key: string;
}

export interface CertificateOptions {
  readonly subject: Subject;
  readonly use: 'server' | 'client' | 'authority';
  /** DNS names and IPv4 addresses. */
  readonly names?: readonly string[];
  readonly validFrom?: Date;
  readonly validTo?: Date;
}

const DAY_MS = 86_400_000;
const ATTRIBUTES = {
  CN: '2.5.4.3',
  C: '2.5.4.6',
  L: '2.5.4.7',
  ST: '2.5.4.8',
  O: '2.5.4.10',
  OU: '2.5.4.11',
} as const;
const EXTENDED_USE = { server: '1.3.6.1.5.5.7.3.1', client: '1.3.6.1.5.5.7.3.2' } as const;
/** ecdsa-with-SHA256 */
const ALGORITHM = '1.2.840.10045.4.3.2';

/** An authority of a test's own: X.509 v3 (RFC 5280) with P-256 keys, written here so that no tool is needed. */
export class TestAuthority {
  /** PEM. */
  readonly cert: string;
  readonly #name: Buffer;
  readonly #key: KeyObject;

  constructor(commonName = 'Test CA') {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const subject = [['CN', commonName]] as const;
    this.#name = nameOf(subject);
    this.#key = privateKey;
    this.cert = this.#sign(publicKey, { subject, use: 'authority' });
  }

  issue(options: CertificateOptions): Pair {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    return { cert: this.#sign(publicKey, options), key };
  }

  /** For localhost, 127.0.0.1 and api.kraken.com. */
  server(commonName = 'proxy'): Pair {
    const names = ['localhost', '127.0.0.1', 'api.kraken.com'];
    return this.issue({ subject: [['CN', commonName]], use: 'server', names });
  }

  client(subject: Subject | string, options: Partial<CertificateOptions> = {}): Pair {
    const attributes: Subject = typeof subject === 'string' ? [['CN', subject]] : subject;
    return this.issue({ subject: attributes, use: 'client', ...options });
  }

  #sign(publicKey: KeyObject, { subject, use, names = [], ...validity }: CertificateOptions): string {
    const { validFrom = new Date(Date.now() - DAY_MS), validTo = new Date(Date.now() + DAY_MS) } = validity;
    const algorithm = sequence(oid(ALGORITHM));
    const body = sequence(
      tagged(0, integer(Buffer.of(2))), // version 3
      integer(randomBytes(16)),
      algorithm,
      this.#name,
      sequence(time(validFrom), time(validTo)),
      nameOf(subject),
      publicKey.export({ type: 'spki', format: 'der' }),
      tagged(3, sequence(...extensionsOf(use, names))),
    );
    const certificate = sequence(body, algorithm, bitString(sign('sha256', body, this.#key)));
    const lines = certificate.toString('base64').match(/.{1,64}/g) ?? [];
    return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n');
  }
}

function extensionsOf(use: CertificateOptions['use'], names: readonly string[]): Buffer[] {
  const isAuthority = use === 'authority';
  const extensions = [
    extension('2.5.29.19', true, sequence(...(isAuthority ? [boolean(true)] : []))), // basicConstraints
    // keyUsage: keyCertSign and cRLSign, or digitalSignature
    extension('2.5.29.15', true, isAuthority ? der(0x03, Buffer.of(1, 0x06)) : der(0x03, Buffer.of(7, 0x80))),
  ];
  if (!isAuthority) extensions.push(extension('2.5.29.37', false, sequence(oid(EXTENDED_USE[use]))));
  if (names.length > 0) {
    const alternatives = names.map((name) =>
      isIP(name) === 4 ? der(0x87, Buffer.from(name.split('.').map(Number))) : der(0x82, Buffer.from(name)),
    );
    extensions.push(extension('2.5.29.17', false, sequence(...alternatives)));
  }
  return extensions;
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return sequence(oid(id), ...(critical ? [boolean(true)] : []), der(0x04, value));
}

function nameOf(subject: Subject): Buffer {
  const attributes = subject.map(([name, value]) => {
    const text = der(name === 'C' ? 0x13 : 0x0c, Buffer.from(value)); // PrintableString, UTF8String
    return der(0x31, sequence(oid(ATTRIBUTES[name]), text));
  });
  return sequence(...attributes);
}

/** UTCTime: good until 2049. */
function time(date: Date): Buffer {
  const digits = date.toISOString().replace(/\D/g, '').slice(2, 14);
  return der(0x17, Buffer.from(`${digits}Z`));
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return der(0x30, Buffer.concat(parts));
}

function tagged(tag: number, content: Buffer): Buffer {
  return der(0xa0 + tag, content);
}

function integer(bytes: Buffer): Buffer {
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | (bytes.length > 1 ? 0x40 : 0); // positive, and without leading zeros
  return der(0x02, bytes);
}

function boolean(value: boolean): Buffer {
  return der(0x01, Buffer.of(value ? 0xff : 0));
}

function bitString(bytes: Buffer): Buffer {
  return der(0x03, Buffer.concat([Buffer.of(0), bytes]));
}

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const base128 = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) base128.unshift((left & 0x7f) | 0x80);
    bytes.push(...base128);
  }
  return der(0x06, Buffer.from(bytes));
}

function der(tag: number, content: Buffer): Buffer {
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Buffer.of(tag, length), content]);
  const size = length < 0x100 ? Buffer.of(0x81, length) : Buffer.of(0x82, length >> 8, length & 0xff);
  return Buffer.concat([Buffer.of(tag), size, content]);
}
