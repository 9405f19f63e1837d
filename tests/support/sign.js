import { createHash, createHmac } from 'node:crypto';
import { request } from 'node:http';
/** Kraken's API-Sign, after AUTH (KRAKEN.md 1.2); written apart from the proxy's and the sandbox's. */
export function apiSign(path, nonce, body, secret) {
  const sha = createHash('sha256').update(nonce).update(body).digest();
  return createHmac('sha512', Buffer.from(secret, 'base64')).update(path).update(sha).digest('base64');
}
/** One HTTP request, its bytes as given. Rejects when the connection fails or the reply is cut off. */
export async function rawRequest(url, path, method, body, headers, agent) {
  return await new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url);
    const req = request({ hostname, port, path, method, headers, agent: agent ?? false }, (res) => {
      const chunks = [];
      res.on('data', (chunk) => chunks.push(chunk));
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
  url,
  path,
  key,
  secret,
  body,
  contentType = 'application/x-www-form-urlencoded',
  extraHeaders = {},
  agent,
) {
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
function jsonOf(bytes) {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
}
