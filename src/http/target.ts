/** Where a request goes: one of Kraken's paths, perhaps for a named account. */
export interface Target {
  readonly kind: 'private' | 'public';
  /** The account named by the prefix `/accounts/<name>`. */
  readonly account: string | undefined;
  /** The name after `/0/private/` or `/0/public/`; may hold a slash. */
  readonly name: string;
  /** With its `?`; empty when there is none. */
  readonly query: string;
}

// Names are letters and digits with single slashes between (KRAKEN.md 1.1). Dots, encoded slashes, double
// slashes, absolute URLs and fragments match nothing: what is signed must be what Kraken reads.
const TARGET =
  /^(?:\/accounts\/([A-Za-z0-9_-]{1,64}))?\/0\/(private|public)\/([A-Za-z0-9]{1,64}(?:\/[A-Za-z0-9]{1,64}){0,3})(\?[!"$-~]*)?$/;

/** Reads a raw request target; undefined when it is none of Kraken's paths to the letter. */
export function parseTarget(url: string): Target | undefined {
  const match = TARGET.exec(url);
  if (match === null) return undefined;
  const [, account, kind, name = '', query = ''] = match;
  return { kind: kind === 'private' ? 'private' : 'public', account, name, query };
}
