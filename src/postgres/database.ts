import { connect } from 'node:net';
import pg from 'pg';
import { ProxyError } from '../errors.js';
import type { Secret } from '../secret.js';

export interface DatabaseOptions {
  /** `postgres://user:password@host:port/name?sslmode=verify-full`. */
  readonly url: Secret;
  /** Connections for lanes that are held: one each, for as long as the call takes. */
  readonly lanes: number;
  /** Connections for everything else, which is short. Default 4. */
  readonly statements?: number;
  /** A statement without an answer for so long, ms, has failed and its connection with it. Default 5000. */
  readonly patienceMs?: number;
  /** As the database's own list of connections names us. */
  readonly name?: string;
}

/** The database said no, or nothing. `code` is `not-owner`: what was asked for may have been done all the same. */
export class DatabaseError extends ProxyError {
  /** PostgreSQL's own code of five characters; undefined when it did not answer. */
  readonly sqlState: string | undefined;

  constructor(cause: unknown) {
    const { message, code } = cause as Partial<pg.DatabaseError>;
    // Neither holds the url: pg names host, user and database at most.
    super('not-owner', `the database: ${message === undefined || message === '' ? String(code) : message}`, {
      cause,
      retryAfterSeconds: 1,
    });
    this.sqlState = cause instanceof pg.DatabaseError ? cause.code : undefined;
  }
}

export type Values = readonly (string | number | bigint | boolean | null)[];

/** One connection for as long as its holder wants it, as for a transaction. */
export interface Session {
  /**
   * The rows of the last statement. Several statements in one text share one round trip; they take no values. Rejects with
   * DatabaseError; without an answer within the patience, ms, the session is lost.
   */
  query<Row>(text: string, values?: Values, patienceMs?: number): Promise<readonly Row[]>;
  /** The connection was lost. Never calls back once the session has ended. */
  onLost(listener: (error: DatabaseError) => void): void;
  /** Gives the connection back; no transaction may be open on it. */
  release(): void;
  /** Drops the connection, and with it whatever it holds. */
  destroy(): void;
}

const PATIENCE_MS = 5_000;
/** A server that does not take a request to cancel within this, ms, is gone. */
const CANCEL_MS = 2_000;
/** Where in the server a commit is told to wait for its replica no longer: the warning has no code of its own. */
const NOT_REPLICATED = 'SyncRepWaitForLSN';
/** Idle connections are dropped after this: a firewall in between forgets them unseen. */
const IDLE_MS = 30_000;

/** The connections to PostgreSQL. Nothing is connected before the first statement, and what is lost is made anew. */
export class Database {
  readonly #statements: pg.Pool;
  readonly #lanes: pg.Pool;
  readonly #patienceMs: number;
  /** Connections for lanes that are not taken. */
  #freeLanes: number;
  readonly #waiting: (() => void)[] = [];
  /** Under way: the process must not end before they have left. */
  readonly #cancels = new Set<Promise<void>>();
  #closing: Promise<void> | undefined;

  constructor({ url, lanes, statements = 4, patienceMs = PATIENCE_MS, name }: DatabaseOptions) {
    this.#patienceMs = patienceMs;
    this.#freeLanes = lanes;
    const options: pg.PoolConfig = {
      connectionString: url.reveal(),
      connectionTimeoutMillis: patienceMs,
      idleTimeoutMillis: IDLE_MS,
      keepAlive: true,
      allowExitOnIdle: true,
      ...(name === undefined ? {} : { application_name: name }),
    };
    this.#statements = new pg.Pool({ ...options, max: statements });
    this.#lanes = new pg.Pool({ ...options, max: lanes });
    // An idle connection that is lost is made anew when it is needed; without a listener it ends the process.
    for (const pool of [this.#statements, this.#lanes]) pool.on('error', () => undefined);
  }

  /** One statement, committed when it resolves. Rejects with DatabaseError: then it may have been done or not. */
  async query<Row>(text: string, values: Values = []): Promise<readonly Row[]> {
    const session = await this.#open(this.#statements);
    try {
      return await session.query<Row>(text, values);
    } finally {
      session.release();
    }
  }

  /** A connection for a short transaction. Rejects with DatabaseError. */
  async session(): Promise<Session> {
    return await this.#open(this.#statements);
  }

  /** A connection for the time in which a lane is held; waits while all are taken. Rejects with DatabaseError. */
  async laneSession(): Promise<Session> {
    // Not in pg's own line, where a wait is a failure after a while.
    if (this.#freeLanes > 0) this.#freeLanes--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    const giveBack = (): void => {
      const next = this.#waiting.shift();
      if (next === undefined) this.#freeLanes++;
      else next();
    };
    try {
      return await this.#open(this.#lanes, giveBack);
    } catch (error) {
      giveBack();
      throw error;
    }
  }

  /** A text as a literal of SQL, for statements that go without values. */
  readonly literal = (text: string): string => pg.escapeLiteral(text);

  /** Ends all connections that are not in use, and the others when they are given back. May be called again. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    const ended = Promise.all([this.#statements.end(), this.#lanes.end(), ...this.#cancels]);
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise((resolve) => (timer = setTimeout(resolve, this.#patienceMs)));
    await Promise.race([ended, patience]).finally(() => clearTimeout(timer));
  }

  async #open(pool: pg.Pool, onEnd?: () => void): Promise<Session> {
    try {
      return new PooledSession(await pool.connect(), {
        patienceMs: this.#patienceMs,
        onOver: onEnd,
        onGivenUp: (client) => this.#cancel(client),
      });
    } catch (error) {
      throw new DatabaseError(error);
    }
  }

  #cancel(client: Client): void {
    const cancelled = cancel(client)
      .catch(() => undefined)
      .finally(() => this.#cancels.delete(cancelled));
    this.#cancels.add(cancelled);
  }
}

interface PooledSessionParts {
  readonly patienceMs: number;
  readonly onOver: (() => void) | undefined;
  /** The server may still be busy with what was asked of it. */
  readonly onGivenUp: (client: Client) => void;
}

class PooledSession implements Session {
  readonly #client: Client;
  readonly #parts: PooledSessionParts;
  readonly #listeners: ((error: DatabaseError) => void)[] = [];
  #isOver = false;
  #lost: DatabaseError | undefined;
  #warning: string | undefined;

  constructor(client: pg.PoolClient, parts: PooledSessionParts) {
    this.#client = client as Client;
    this.#parts = parts;
    client.on('error', this.#onError);
    client.on('end', this.#onEnd);
    client.on('notice', this.#onNotice);
  }

  async query<Row>(
    text: string,
    values?: Values,
    patienceMs = this.#parts.patienceMs,
  ): Promise<readonly Row[]> {
    const lost = this.#lost;
    if (lost !== undefined) throw lost;
    this.#warning = undefined;
    try {
      // pg's own type has not heard of its own option.
      const query = { text, query_timeout: patienceMs } as pg.QueryConfig;
      // Without values the text may hold several statements.
      const result = await this.#client.query(
        values === undefined ? query : { ...query, values: [...values] },
      );
      this.#throwIfWarned();
      const last: pg.QueryResult = Array.isArray(result) ? (result.at(-1) as pg.QueryResult) : result;
      return last.rows as Row[];
    } catch (cause) {
      const error = new DatabaseError(cause);
      // Without an answer nobody knows what it is doing: the next statement would wait for this one.
      if (error.sqlState === undefined && this.#lose(error)) this.#parts.onGivenUp(this.#client);
      throw error;
    }
  }

  onLost(listener: (error: DatabaseError) => void): void {
    if (this.#lost === undefined) this.#listeners.push(listener);
    else listener(this.#lost);
  }

  release(): void {
    this.#end(this.#lost !== undefined);
  }

  destroy(): void {
    this.#end(true);
  }

  readonly #onError = (error: Error): void => void this.#lose(new DatabaseError(error));
  readonly #onEnd = (): void => void this.#lose(new DatabaseError(new Error('the connection was closed')));

  /** One that was waiting for its replica and was told to wait no longer says so, and that all is well. */
  readonly #onNotice = ({ routine, message = NOT_REPLICATED }: Notice): void => {
    if (routine === NOT_REPLICATED) this.#warning = message;
  };

  /** Committed there, but its replica may not have it: to us it was not done. */
  #throwIfWarned(): void {
    if (this.#warning === undefined) return;
    throw new Error(this.#warning);
  }

  /** False when it was lost before. */
  #lose(error: DatabaseError): boolean {
    if (this.#lost !== undefined) return false;
    this.#lost = error;
    if (!this.#isOver) for (const listener of this.#listeners) listener(error);
    return true;
  }

  #end(isBroken: boolean): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#client.off('error', this.#onError);
    this.#client.off('end', this.#onEnd);
    this.#client.off('notice', this.#onNotice);
    // A connection whose other end is silent would wait for it in vain.
    if (isBroken) this.#client.connection.stream.destroy();
    this.#client.release(isBroken);
    this.#parts.onOver?.();
  }
}

type Notice = Parameters<Parameters<typeof pg.Client.prototype.on<'notice'>>[1]>[0];

/** A pool's client as it is: pg's types know less of it. */
interface Client extends pg.PoolClient, Pick<pg.Client, 'host' | 'port' | 'connection'> {
  readonly processID: unknown;
  readonly secretKey: unknown;
}

/**
 * Has the server end what it does for a connection that is given up, as libpq's PQcancel does: a commit that waits for a
 * replica would wait on, and keep its connection, long after ours is closed. No answer comes of it. Resolves when the
 * server has taken it, or does not.
 */
async function cancel({ host, port, processID, secretKey }: Client): Promise<void> {
  // Not every pooler has them, and later protocols have longer ones.
  if (typeof processID !== 'number' || typeof secretKey !== 'number') return;
  const request = Buffer.alloc(16);
  for (const [index, value] of [request.length, CANCEL_REQUEST, processID, secretKey].entries())
    request.writeInt32BE(value, index * 4);
  const socket = connect(host.startsWith('/') ? { path: `${host}/.s.PGSQL.${port}` } : { host, port });
  socket.unref();
  socket.setTimeout(CANCEL_MS, () => socket.destroy());
  socket.on('error', () => undefined);
  // The server closes it without a word.
  socket.resume().end(request);
  await new Promise((resolve) => socket.once('close', resolve));
}

/** 1234 and 5678 in two halves: the protocol's number for it. */
const CANCEL_REQUEST = 80_877_102;
