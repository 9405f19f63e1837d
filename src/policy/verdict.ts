import type { Finding, RuleName, Verdict } from './policy.js';

const MAX_REASON = 200;

/** A finding whose reason fits a log line and a response header. */
export function finding(rule: RuleName, reason: string): Finding {
  return { rule, reason: printable(reason, MAX_REASON) };
}

/** The first finding of an enforced rule refuses; those of rules in report mode are all told. */
export function verdictOf(findings: readonly Finding[], report: ReadonlySet<RuleName>): Verdict {
  return {
    denied: findings.find(({ rule }) => !report.has(rule)),
    reported: findings.filter(({ rule }) => report.has(rule)),
  };
}

/** Text of somebody else's as printable ASCII, cut off. */
export function printable(text: string, length = 40): string {
  const ascii = text.replace(/[^\x20-\x7e]/g, '?');
  return ascii.length <= length ? ascii : `${ascii.slice(0, length - 3)}...`;
}

/** A rule cannot tell, and so it must refuse; the message is the finding's reason. */
export class Doubt extends Error {
  constructor(reason: string, options?: ErrorOptions) {
    super(reason, options);
    this.name = 'Doubt';
  }
}

/** What somebody else did not tell us, as a doubt with their reason. */
export function doubtOf(what: string, error: unknown): Doubt {
  if (error instanceof Doubt) return error;
  return new Doubt(`${what}: ${printable(error instanceof Error ? error.message : String(error), 120)}`, {
    cause: error,
  });
}
