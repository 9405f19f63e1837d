/**
 * Child process: what one database can do at most. Sends the proxy's own statements for so many lanes at once, without
 * any proxy or upstream in between. Takes `{ lanes, ms, whole }`: whether each nonce is a tenure of its own (take, draw,
 * give) or a draw alone. Answers `{ measured: { calls, seconds, latencies } }`, ms each, or `{ failed }`.
 */
import pg from 'pg';
import { DRAW, giveStatement, MAKE_LANE, takeStatement, TENURE } from '../dist/nonce/lane-row.js';

const RUN = 'bench';
const url = process.env['DATABASE_URL'];

/** @typedef {{ lanes: number, ms: number, whole: boolean }} Order */

/** A lane with two connections, as a proxy uses them: one holds the lock, another hands out the nonce. */
class BusyLane {
  #lock = new pg.Client({ connectionString: url });
  #statements = new pg.Client({ connectionString: url });
  #name;
  #tenure = 0;

  /** @param {number} at */
  constructor(at) {
    this.#name = `bench-${at}`;
  }

  async open() {
    await Promise.all([this.#lock.connect(), this.#statements.connect()]);
    await this.#statements.query(MAKE_LANE, [this.#name]);
    const { rows } = await this.#statements.query(TENURE, [this.#name]);
    this.#tenure = Number(rows[0].tenure);
  }

  async tenure() {
    const lane = this.#name;
    await this.#lock.query(takeStatement({ lane, waitMs: 10_000, leaseMs: 5_000 }, pg.escapeLiteral));
    await this.draw();
    const end = { lane, tenure: BigInt(this.#tenure), run: RUN, state: {} };
    await this.#lock.query(giveStatement(end, pg.escapeLiteral));
  }

  async draw() {
    const values = [this.#name, this.#tenure, this.#tenure + 1, RUN, 0, '{}'];
    const { rowCount } = await this.#statements.query(DRAW, values);
    if (rowCount !== 1) throw new Error(`lane ${this.#name} is another's`);
    this.#tenure++;
  }

  async close() {
    await Promise.all([this.#lock.end(), this.#statements.end()]);
  }
}

/** @param {Order} order */
async function carryOut({ lanes, ms, whole }) {
  const busy = Array.from({ length: lanes }, (_, at) => new BusyLane(at));
  await Promise.all(busy.map((lane) => lane.open()));
  try {
    /** @type {number[]} */
    const latencies = [];
    const start = performance.now();
    await Promise.all(
      busy.map(async (lane) => {
        for (;;) {
          const sent = performance.now();
          if (sent - start >= ms) return;
          await (whole ? lane.tenure() : lane.draw());
          latencies.push(performance.now() - sent);
        }
      }),
    );
    return { calls: latencies.length, seconds: (performance.now() - start) / 1_000, latencies };
  } finally {
    await Promise.all(busy.map((lane) => lane.close()));
  }
}

process.on('disconnect', () => process.exit(0));
process.on('message', (/** @type {Order} */ order) => {
  carryOut(order).then(
    (measured) => process.send?.({ measured }),
    (/** @type {Error} */ error) => process.send?.({ failed: error.message }),
  );
});
process.send?.({});
