import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';

/**
 * The subject of a client certificate that the CA vouches for: its attributes by their short names (`CN`, `O`, `OU`,
 * `C`, `ST`, `L`; others by what OpenSSL calls them). An attribute that occurs more than once is left out.
 */
export type PeerSubject = Readonly<Record<string, string>>;

interface Peer {
  readonly subject: PeerSubject;
  /** ms since 1970. */
  readonly validTo: number;
}

// On the socket itself, not in a map: HTTP/2 requests show a stand-in of their socket, which passes properties on.
const PEER = Symbol('the verified peer');

type PeerSocket = Socket & { [PEER]?: Peer | undefined };

/** Keeps who is at the other end of a connection whose handshake has just ended. */
export function rememberPeer(socket: TLSSocket): void {
  (socket as PeerSocket)[PEER] = verifiedPeer(socket);
}

/** From now on nobody is known at the other end: what vouched for them is no longer in force. */
export function forgetPeer(socket: TLSSocket): void {
  (socket as PeerSocket)[PEER] = undefined;
}

/**
 * Who called, by their client certificate. Undefined when there is none, when the CA in force does not vouch for it,
 * when it has expired since, and when the connection is not TLS.
 */
export function peerSubject(socket: Socket, now: number = Date.now()): PeerSubject | undefined {
  const peer = (socket as PeerSocket)[PEER];
  return peer !== undefined && now < peer.validTo ? peer.subject : undefined;
}

function verifiedPeer(socket: TLSSocket): Peer | undefined {
  if (!socket.authorized) return undefined;
  // A resumed TLS 1.3 session counts as authorized on node 20 although its client never showed a certificate.
  const certificate: Partial<ReturnType<TLSSocket['getPeerCertificate']>> = socket.getPeerCertificate();
  if (certificate.subject === undefined || certificate.valid_to === undefined) return undefined;
  const attributes: [string, unknown][] = Object.entries(certificate.subject);
  const single = attributes.filter(
    (attribute): attribute is [string, string] => typeof attribute[1] === 'string',
  );
  return { subject: Object.fromEntries(single), validTo: Date.parse(certificate.valid_to) };
}
