import { createHash, createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { createSecureContext, type SecureContextOptions } from 'node:tls';

/** Where the certificates are: absolute paths of PEM files. */
export interface CertificatePaths {
  /** The server's certificate, followed by the intermediate ones. */
  readonly certFile: string;
  /** Its private key, without a passphrase. */
  readonly keyFile: string;
  /** The authorities that vouch for client certificates. */
  readonly clientCaFile?: string | undefined;
}

/** A certificate file that cannot be used: which one, and why. Never quotes a key. */
export class CertificateError extends Error {
  constructor(option: keyof CertificatePaths, path: string, what: string, options?: ErrorOptions) {
    super(`listen.tls.${option} (${path}): ${what}`, options);
    this.name = 'CertificateError';
  }
}

type Contents = Readonly<Partial<Record<keyof CertificatePaths, Buffer | CertificateError>>>;

const OPTIONS = ['certFile', 'keyFile', 'clientCaFile'] as const;
/** Bundles of all the world's authorities have 250 kB. */
const MAX_FILE_BYTES = 4_194_304;
const CERTIFICATE =
  /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[^-]*-----END (?:TRUSTED |X509 )?CERTIFICATE-----/g;

/** The certificates in force, and the files they came from. */
export class CertificateFiles {
  readonly #paths: CertificatePaths;
  #secure: SecureContextOptions;
  #seen: string;

  private constructor(paths: CertificatePaths, secure: SecureContextOptions, seen: string) {
    this.#paths = paths;
    this.#secure = secure;
    this.#seen = seen;
  }

  /** Rejects with CertificateError. */
  static async load(paths: CertificatePaths): Promise<CertificateFiles> {
    const contents = await readAll(paths);
    return new CertificateFiles(paths, secureOf(paths, contents), digestOf(contents));
  }

  /** The last good set. */
  get secure(): SecureContextOptions {
    return this.#secure;
  }

  /**
   * Looks at the files again; undefined when they hold what they held the last time. Else what they hold is in force
   * from now on, or rejects with CertificateError, once for the same contents, and the former set stays.
   *
   * It is the bytes that are compared: names, times and inodes say little about files that are swapped as symlinks,
   * renamed over, or written twice within a clock tick, and reading a few kB is no work.
   */
  async reread(): Promise<{ readonly clientCaChanged: boolean } | undefined> {
    const contents = await readAll(this.#paths);
    const digest = digestOf(contents);
    if (digest === this.#seen) return undefined;
    this.#seen = digest;
    const former = this.#secure.ca as Buffer | undefined;
    this.#secure = secureOf(this.#paths, contents);
    const { clientCaFile } = contents;
    return { clientCaChanged: clientCaFile instanceof Buffer && former?.equals(clientCaFile) !== true };
  }
}

async function readAll(paths: CertificatePaths): Promise<Contents> {
  const contents: Partial<Record<keyof CertificatePaths, Buffer | CertificateError>> = {};
  for (const option of OPTIONS) {
    const path = paths[option];
    if (path !== undefined) contents[option] = await read(option, path);
  }
  return contents;
}

async function read(option: keyof CertificatePaths, path: string): Promise<Buffer | CertificateError> {
  try {
    // A pipe or a device would have no end.
    const stats = await stat(path);
    if (!stats.isFile()) return new CertificateError(option, path, 'is not a file');
    if (stats.size > MAX_FILE_BYTES)
      return new CertificateError(option, path, `is larger than ${MAX_FILE_BYTES} bytes`);
    return await readFile(path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    return new CertificateError(option, path, `cannot be read: ${code ?? 'unknown error'}`, { cause });
  }
}

function digestOf(contents: Contents): string {
  const hash = createHash('sha256');
  for (const option of OPTIONS) {
    const content = contents[option];
    const bytes = content instanceof Error ? content.message : (content ?? '');
    hash.update(`${option} ${content instanceof Error ? 'error' : 'file'} ${bytes.length}\n`).update(bytes);
  }
  return hash.digest('hex');
}

/** What the server is to use. Throws CertificateError. */
function secureOf(paths: CertificatePaths, contents: Contents): SecureContextOptions {
  const [cert, key, ca] = OPTIONS.map((option) => {
    const content = contents[option];
    if (content instanceof Error) throw content;
    return content;
  });
  const { certFile, keyFile, clientCaFile } = paths;
  const [own] = certificatesIn('certFile', certFile, cert);
  const privateKey = privateKeyIn(keyFile, key);
  if (own?.checkPrivateKey(privateKey) !== true) {
    throw new CertificateError('keyFile', keyFile, `this key is not that of the certificate in ${certFile}`);
  }
  if (clientCaFile !== undefined) certificatesIn('clientCaFile', clientCaFile, ca);
  const secure: SecureContextOptions = { cert, key, ca, minVersion: 'TLSv1.2' };
  try {
    createSecureContext(secure);
  } catch (cause) {
    // Such as a key that OpenSSL holds to be too small.
    const { code } = cause as NodeJS.ErrnoException;
    throw new CertificateError(
      'certFile',
      certFile,
      `OpenSSL refuses it or its key: ${code ?? 'unknown error'}`,
    );
  }
  return secure;
}

function certificatesIn(
  option: keyof CertificatePaths,
  path: string,
  pem: Buffer | undefined,
): readonly X509Certificate[] {
  const texts = pem?.toString('latin1').match(CERTIFICATE) ?? [];
  if (texts.length === 0) throw new CertificateError(option, path, 'there is no certificate in it (PEM)');
  return texts.map((text, at) => {
    try {
      return new X509Certificate(text);
    } catch (cause) {
      throw new CertificateError(option, path, `certificate ${at + 1} in it is broken`, { cause });
    }
  });
}

/** The error of OpenSSL stays out: nothing about a key goes further than this. */
function privateKeyIn(path: string, pem: Buffer | undefined): KeyObject {
  try {
    return createPrivateKey(pem ?? '');
  } catch {
    throw new CertificateError('keyFile', path, 'there is no private key in it (PEM, without a passphrase)');
  }
}
