/** One thing wrong with the config, told so that it can be put right without a look at the code. */
export interface ConfigMistake {
  /** The option, as `queue.maxWaitMs` or `listen.hosts.0`; `(file)` for the file itself. */
  readonly path: string;
  /** What stands there, never a secret: below an account only its kind is named. */
  readonly found: string;
  readonly expected: string;
}

/** Every mistake of a config at once, one a line. Carries no `cause`: parser errors quote the text. */
export class ConfigError extends Error {
  readonly mistakes: readonly ConfigMistake[];

  constructor(file: string, mistakes: readonly ConfigMistake[]) {
    const count = mistakes.length === 1 ? '1 mistake' : `${mistakes.length} mistakes`;
    const lines = mistakes.map(
      ({ path, found, expected }) => `  ${path}: found ${found}, expected ${expected}`,
    );
    super([`${file}: ${count}`, ...lines].join('\n'));
    this.name = 'ConfigError';
    this.mistakes = mistakes;
  }
}

/** `["accounts", "my bot"]` as `accounts."my bot"`. */
export function pathText(path: readonly PropertyKey[]): string {
  return path.map((segment) => nameText(String(segment))).join('.');
}

/** A key of the file as a message may show it. */
export function nameText(name: string): string {
  if (name.length > 64 || looksSecret(name)) return `(a name of ${name.length} characters)`;
  return /^[\w$-]+$/.test(name) ? name : JSON.stringify(name);
}

/** The kind of a JSON value, for places whose content must not be shown. */
export function kindOf(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

/** A value as a message may show it: strings and numbers as written, the rest by kind. */
export function valueText(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (typeof value !== 'string' || value.length > 200 || looksSecret(value)) return kindOf(value);
  return JSON.stringify(value);
}

/**
 * Whether a text has the shape of a Kraken key or secret (base64) or of a TOTP secret (base32). People
 * paste these where a name or a path belongs, so such a text is not shown, wherever it stands.
 */
function looksSecret(name: string): boolean {
  const text = name.trim();
  if (/^[A-Za-z0-9+/]{40,}={0,2}$/.test(text)) return true;
  // Nearly every TOTP secret has a digit; without one it may as well be the name of an account.
  return /[2-7]/.test(text) && /^(?:[A-Za-z2-7]{4} ?){4,}[A-Za-z2-7]*=*$/.test(text);
}

/** The known name that was probably meant: equal but for case and `-_`, or at most two edits away. */
export function closestName(name: string, known: readonly string[]): string | undefined {
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[-_]/g, '');
  const meant = plain(name.slice(0, 64));
  const ranked = known
    .map((candidate) => ({ candidate, edits: editDistance(meant, plain(candidate)) }))
    .filter(({ candidate, edits }) => edits <= (candidate.length < 4 ? 1 : 2))
    .sort((a, b) => a.edits - b.edits);
  return ranked[0]?.candidate;
}

/** Levenshtein's distance, one row at a time. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}
