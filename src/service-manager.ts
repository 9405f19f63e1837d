import { spawn, type ChildProcess } from 'node:child_process';

export interface ServiceManagerOptions {
  /** The process's environment: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID` and `PATH` are read from it. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /**
   * Asked before each ping of the watchdog; while it is false, or throws, none goes out, and the service manager ends
   * and restarts the proxy after `WatchdogSec`. So it says no only to what a restart would mend.
   */
  readonly isWell: () => boolean;
  /** Told once when the service manager cannot be reached. The proxy goes on without it. */
  readonly onTrouble: (problem: string) => void;
  /** Default: this process. */
  readonly pid?: number;
}

/** The relay's exit code where there is no systemd-notify. */
const MISSING = 127;

/**
 * Reads messages, one a line with tabs between their parts, and hands each to systemd-notify. It ignores the signals
 * that end a service, so that the last words still go out, and ends when its input does, however the proxy ended.
 */
const RELAY = `
trap '' HUP INT TERM
command -v systemd-notify >/dev/null 2>&1 || { echo 'systemd-notify is not on PATH'; exit ${MISSING}; }
set -f
IFS='\t'
while read -r message; do
  systemd-notify $message 2>&1 </dev/null || echo "systemd-notify ended with $?"
done`;

/** What the relay may know; everything else in our environment may be a secret. */
const PASSED_ON = ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID'] as const;
const DEFAULT_PATH = '/usr/local/bin:/usr/bin:/bin';
/** How long the last words may take. */
const CLOSE_LIMIT_MS = 1_000;
/** A longer timer would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;
const MAX_STATUS = 200;
const MAX_PROBLEM = 300;

/**
 * Tells systemd what becomes of the proxy (sd_notify(3)) and feeds its watchdog. Node has no datagram sockets of the
 * Unix kind, so one small shell beside the proxy passes the messages on: the large process forks once, not for every
 * ping. Since they come from that shell, the unit needs `NotifyAccess=all`. Without `NOTIFY_SOCKET` nothing is done.
 */
export class ServiceManager {
  readonly #options: ServiceManagerOptions;
  #isThere: boolean;
  readonly #watchdog: NodeJS.Timeout | undefined;
  #relay: ChildProcess | undefined;
  #isClosed = false;
  #hasTold = false;

  constructor(options: ServiceManagerOptions) {
    this.#options = options;
    this.#isThere = (options.env.NOTIFY_SOCKET ?? '') !== '';
    const everyMs = this.#isThere ? watchdogMs(options) / 2 : Number.NaN;
    if (everyMs > 0)
      this.#watchdog = setInterval(() => this.#ping(), Math.min(everyMs, MAX_TIMER_MS)).unref();
  }

  /** The proxy serves, or has reloaded its config; a standby is ready as soon as it waits. */
  ready(status: string): void {
    this.#tell('READY=1', statusPart(status));
  }

  /** For `systemctl status`; one line, at most 200 characters. */
  status(status: string): void {
    this.#tell(statusPart(status));
  }

  /** The config is being read again; `ready` follows, whether or not it was any good. */
  reloading(): void {
    // systemd holds this against the time of its own signal; both clocks are CLOCK_MONOTONIC.
    this.#tell('RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1_000n}`);
  }

  /** No more calls are taken. The watchdog is fed until `close`. */
  stopping(): void {
    this.#tell('STOPPING=1', statusPart('stopping'));
  }

  /** Resolves when everything said has been passed on and the relay is gone, after a second at most. Never rejects. */
  async close(): Promise<void> {
    clearInterval(this.#watchdog);
    this.#isClosed = true;
    const relay = this.#relay;
    if (relay === undefined) return;
    await new Promise<void>((resolve) => {
      const limit = setTimeout(() => killGroup(relay), CLOSE_LIMIT_MS);
      const ended = (): void => {
        clearTimeout(limit);
        resolve();
      };
      relay.once('exit', ended);
      relay.once('error', ended); // one that could not be started never exits
      relay.ref();
      relay.stdin?.end();
    });
  }

  #ping(): void {
    // While the relay is behind, one more ping would only wait in its pipe.
    if ((this.#relay?.stdin?.writableLength ?? 0) > 0) return;
    let isWell = false;
    try {
      isWell = this.#options.isWell();
    } catch {
      // What cannot even say how it is, is not well.
    }
    if (isWell) this.#tell('WATCHDOG=1');
  }

  #tell(...parts: readonly string[]): void {
    if (!this.#isThere || this.#isClosed) return;
    // One that was killed is replaced: without pings the watchdog would end a proxy that is well.
    this.#relay ??= this.#start();
    this.#relay?.stdin?.write(`${parts.join('\t')}\n`);
  }

  /** Undefined, and told of, when it cannot be had: the next message tries again. */
  #start(): ChildProcess | undefined {
    try {
      return this.#spawn();
    } catch (error) {
      this.#trouble((error as Error).message);
      return undefined;
    }
  }

  #spawn(): ChildProcess | undefined {
    const { env } = this.#options;
    const passed = Object.fromEntries(
      PASSED_ON.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])),
    );
    const relay: ChildProcess = spawn('/bin/sh', ['-c', RELAY], {
      env: { ...passed, PATH: env.PATH ?? DEFAULT_PATH },
      cwd: '/',
      // A session of its own: Ctrl-C is for the proxy.
      detached: true,
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    const gone = (): void => {
      if (this.#relay === relay) this.#relay = undefined;
    };
    relay.once('error', (error) => {
      gone();
      this.#trouble(error.message);
    });
    relay.once('exit', (code) => {
      gone();
      if (code === MISSING) this.#isThere = false;
    });
    const { stdin, stdout } = relay;
    // Without a free file descriptor there are no pipes; `error` follows and says why.
    if (!stdin || !stdout) return undefined;
    stdin.on('error', gone); // it has ended: the next message starts another
    stdout.on('error', gone);
    stdout.setEncoding('utf8').on('data', (problem: string) => this.#trouble(problem));
    // None of it keeps the proxy alive.
    relay.unref();
    for (const pipe of [stdin, stdout]) if ('unref' in pipe) (pipe as { unref(): void }).unref();
    return relay;
  }

  #trouble(problem: string): void {
    if (this.#hasTold) return;
    this.#hasTold = true;
    this.#options.onTrouble(`the service manager was not told: ${problem.trim().slice(0, MAX_PROBLEM)}`);
  }
}

/** How long the watchdog waits for a ping, ms; NaN when there is none, or when it waits for another process. */
function watchdogMs({ env, pid = process.pid }: ServiceManagerOptions): number {
  const { WATCHDOG_USEC: usec = '', WATCHDOG_PID: whose } = env;
  if (!/^[1-9]\d{0,15}$/.test(usec) || (whose !== undefined && whose !== String(pid))) return Number.NaN;
  return Number(usec) / 1_000;
}

/** The relay and the systemd-notify it waits for. */
function killGroup(relay: ChildProcess): void {
  try {
    if (relay.pid !== undefined) process.kill(-relay.pid, 'SIGKILL');
  } catch {
    // It has ended in the meantime.
  }
}

function statusPart(status: string): string {
  // A message is one line of parts between tabs.
  return `STATUS=${status.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]+/gu, ' ').slice(0, MAX_STATUS)}`;
}
