import { steadyWallNow } from './clocks.js';
import type { Config } from './config.js';
import { KrakenMarket } from './kraken/market.js';
import { SystemStatus } from './kraken/system-status.js';
import { Upstream } from './kraken/transport.js';
import { PublicBudget } from './lane/public-budget.js';
import { liveView } from './live-view.js';
import type { Log } from './log.js';

/** What Kraken tells everybody: for clients, and for the proxy itself. */
export interface PublicSide {
  readonly upstream: Upstream;
  readonly budget: PublicBudget;
  readonly market: KrakenMarket;
  readonly status: SystemStatus;
  /** The proxy's own GET of such a path: the whole body. Rejects on any status but 200. */
  readonly ask: (path: string) => Promise<Buffer>;
  /** Nobody waits any more, and nothing more is asked. */
  stop(): void;
  close(): Promise<void>;
}

export interface PublicSideOptions {
  /** Kraken's own, or that of its stand-in. */
  readonly url: string;
  readonly userAgent: string;
  /** May change while it runs. */
  readonly config: () => Pick<Config, 'upstream' | 'publicCalls' | 'queue'>;
  readonly log: Log;
  /** The `Date` of a reply to a question of the proxy's own, and when that was sent and answered, unix ms. */
  readonly onDate: (date: string | undefined, sentAt: number, receivedAt: number) => void;
}

const PUBLIC_CONNECTIONS = 8;

export function openPublicSide({ url, userAgent, config, log, onDate }: PublicSideOptions): PublicSide {
  const { timeoutMs } = config().upstream;
  const budget = new PublicBudget(
    liveView(() => ({ ...config().publicCalls, maxWaitMs: config().queue.maxWaitMs })),
  );
  const upstream = new Upstream({ url, timeoutMs, connections: PUBLIC_CONNECTIONS });
  // Of its own: a flood of public calls must not hold up the price that an order waits for.
  const own = new Upstream({ url, timeoutMs, connections: 2 });
  const ask = async (path: string): Promise<Buffer> => {
    budget.takeNow();
    const headers = { 'user-agent': userAgent };
    const sentAt = steadyWallNow();
    const { status, headers: told, body } = await own.send({ method: 'GET', path, headers, body: null });
    onDate(typeof told.date === 'string' ? told.date : undefined, sentAt, steadyWallNow());
    if (status !== 200) throw new Error(`${path} was answered with HTTP ${status}`);
    return body;
  };
  const status = new SystemStatus({
    ask: () => ask('/0/public/SystemStatus'),
    onChange: (is) =>
      log[is === undefined || is === 'online' ? 'info' : 'warn'](
        { status: is },
        'what Kraken says about itself',
      ),
  });
  return {
    upstream,
    budget,
    market: new KrakenMarket({ send: ask }),
    status,
    ask,
    stop: () => {
      budget.close();
      status.close();
    },
    close: async () => {
      await Promise.all([upstream.close(), own.close()]);
    },
  };
}
