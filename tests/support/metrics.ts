import { rawRequest } from './sign.js';

/** One scrape of the ops listener. */
export class Scrape {
  readonly text: string;

  private constructor(text: string) {
    this.text = text;
  }

  static async of(opsUrl: string): Promise<Scrape> {
    return new Scrape((await rawRequest(opsUrl, '/metrics', 'GET', '', {})).body.toString());
  }

  /** The sum over all samples of a metric (its name without the prefix) whose labels include these. */
  value(name: string, labels: Readonly<Record<string, string>> = {}): number {
    const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
    return this.samples(name)
      .filter(({ labels: own }) => wanted.every((label) => own.includes(label)))
      .reduce((sum, { value }) => sum + value, 0);
  }

  /** Every sample of a metric of the proxy's own. */
  samples(name: string): { readonly labels: readonly string[]; readonly value: number }[] {
    const pattern = new RegExp(`^kraken_proxy_${name}(?:\\{(.*)\\})? (\\S+)$`, 'gm');
    return [...this.text.matchAll(pattern)].map(([, labels, value]) => ({
      labels: labels === undefined ? [] : [...labels.matchAll(/\w+="[^"]*"/g)].map(([label]) => label),
      value: Number(value),
    }));
  }
}
