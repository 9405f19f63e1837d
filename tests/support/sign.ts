import { createHash, createHmac } from 'node:crypto';
import { request, type Agent, type IncomingHttpHeaders } from 'node:http';

/** Kraken's API-Sign, after AUTH (KRAKEN.md 1.2); written apart from the proxy's and the sandbox's. */
export function apiSign(path: string, nonce: string, body: string | Buffer, secret: string): string {
  const sha = createHash('sha256').update(nonce).update(body).digest();
  return createHmac('sha512', Buffer.from(secret, 'base64')).update(path).update(sha).digest('base64');
}

export interface SignedReply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** The body as JSON; undefined when it is none. */
  readonly json: { readonly error: readonly string[]; readonly result?: unknown } | undefined;
}

/** One HTTP request, its bytes as given. Rejects when the connection fails or the reply is cut off. */
export async function rawRequest(
  url: string,
  path: string,
  method: string,
  body: string | Buffer,
  headers: Readonly<Record<string, string>>,
  agent?: Agent,
): Promise<SignedReply> {
  return await new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url);
    const req = request({ hostname, port, path, method, headers, agent: agent ?? false }, (res) => {
      const chunks: Buffer[] = [];
      res.on('data', (chunk: Buffer) => chunks.push(chunk));
      res.on('error', reject);
      res.on('end', () => {
        const bytes = Buffer.concat(chunks);
        resolve({ status: res.statusCode ?? 0, headers: res.headers, body: bytes, json: jsonOf(bytes) });
      });
    });
    req.on('error', reject);
    req.end(body);
  });
}

/**
 * A private call, signed over `body` as it stands. The nonce is read out of the body, so it must be there
 * as `nonce=<digits>` or `"nonce":<digits, quoted or not>`; the first one counts. `contentType` null sends
 * none.
 */
export async function signedRequest(
  url: string,
  path: string,
  key: string,
  secret: string,
  body: string,
  contentType: string | null = 'application/x-www-form-urlencoded',
  extraHeaders: Readonly<Record<string, string>> = {},
  agent?: Agent,
): Promise<SignedReply> {
  const nonce = /(?:^|&)nonce=([^&]*)|"nonce"\s*:\s*"?([^",}\s]*)/.exec(body);
  const headers = {
    'API-Key': key,
    'API-Sign': apiSign(path, nonce?.[1] ?? nonce?.[2] ?? '', body, secret),
    ...(contentType === null ? {} : { 'Content-Type': contentType }),
    'Content-Length': String(Buffer.byteLength(body)),
    ...extraHeaders,
  };
  return await rawRequest(url, path, 'POST', body, headers, agent);
}

function jsonOf(bytes: Buffer): SignedReply['json'] {
  try {
    return JSON.parse(bytes.toString()) as NonNullable<SignedReply['json']>;
  } catch {
    return undefined;
  }
}
