/** @typedef {import('./bots.mjs').Order} Order */
/** @typedef {import('./bots.mjs').Call} Call */
/** @typedef {import('./bots.mjs').Attempt} Attempt */
/** @typedef {import('../dist/sandbox/sandbox.js').SandboxOrder} SandboxOrder */
/** @typedef {import('../dist/sandbox/sandbox.js').ReceivedCall} ReceivedCall */

/**
 * What the run left behind.
 * @typedef {object} Evidence
 * @property {import('./bots.mjs').Book} book
 * @property {import('../dist/sandbox/sandbox.js').Sandbox} sandbox
 * @property {import('./trouble.mjs').Trouble} trouble
 * @property {readonly import('./mortal-proxy.mjs').LogLine[]} log
 * @property {readonly string[]} accounts
 */

/** @typedef {{ what: string, call?: Call }} Violation */

const QUESTIONS = new Set(['OpenOrders', 'ClosedOrders', 'QueryOrders', 'OrderAmends']);
/** How long the proxy keeps asking for a client that waits; what it learns in its last moments counts. */
const LAST_MOMENTS_MS = 3_500;

/** Compares what the bots were told with what there is. @param {Evidence} evidence @returns {Violation[]} */
export function judge(evidence) {
  const { book, sandbox, accounts } = evidence;
  /** @type {Map<string, (SandboxOrder & { account: string })[]>} */
  const byVolume = new Map();
  for (const account of accounts)
    for (const order of sandbox.orders(account)) {
      const same = byVolume.get(order.volume) ?? [];
      byVolume.set(order.volume, [...same, { ...order, account }]);
    }
  const violations = book.orders.flatMap((order) => {
    const there = byVolume.get(order.volume) ?? [];
    byVolume.delete(order.volume);
    return orderFaults(order, there).map((what) => ({
      what: `order of ${order.volume}: ${what}`,
      call: order.call,
    }));
  });
  for (const [volume] of byVolume)
    violations.push({ what: `nobody asked for the order of ${volume}`, call: undefined });
  for (const call of book.calls)
    if (call.told.kind === 'unknown' && call.told.why === 'was never told')
      violations.push({ what: 'its bot was never told', call });
  violations.push(...unexcused(evidence), ...orderOfCalls(evidence));
  return violations;
}

/** @param {Order} order @param {(SandboxOrder & { account: string })[]} there */
function orderFaults(order, there) {
  const { told, txid, call } = order;
  const [first] = there;
  const found = there.map((one) => one.txid).join(', ') || 'none';
  if (there.length > 1) return [`it is there ${there.length} times: ${found}`];
  if (first !== undefined && first.account !== call.account) return [`it is on the account ${first.account}`];
  if (told.kind === 'not-done' && first !== undefined) return [`told "${told.error}", but there is ${found}`];
  if (told.kind !== 'done') return [];
  if (txid === undefined) return ['told that it was placed, but not its txid'];
  if (first?.txid !== txid) return [`told ${txid}, but there is ${found}`];
  return [...amendFaults(order, first), ...endFaults(order, first)];
}

/** @param {Order} order @param {SandboxOrder} there */
function amendFaults({ amends }, there) {
  const kinds = amends.map(({ call }) => call.told.kind);
  const least = kinds.filter((kind) => kind === 'done').length;
  const most = least + kinds.filter((kind) => kind === 'unknown').length;
  const faults = [];
  if (there.amended < least || there.amended > most)
    faults.push(
      `${there.amended} amends, where ${least} were told to be done and ${most - least} are unknown`,
    );
  // The last one that was done, or any unknown one after it.
  const last = kinds.lastIndexOf('done');
  const possible = amends.filter(
    ({ call }, index) => index === last || (index > last && call.told.kind === 'unknown'),
  );
  const isPossible = possible.some(({ price }) => price === there.price);
  if (last >= 0 && !isPossible)
    faults.push(`its price is ${there.price}, told ${possible.map(({ price }) => price).join(' or ')}`);
  return faults;
}

/** @param {Order} order @param {SandboxOrder} there */
function endFaults({ cancels, edits, rests }, there) {
  const faults = [];
  if (cancels.some(({ told }) => told.kind === 'done') && there.status !== 'canceled')
    faults.push(`told that it was canceled, but it is ${there.status}`);
  if (edits.some(({ told }) => told.kind === 'done') && there.reason !== 'Order replaced')
    faults.push(`told that another took its place, but it is ${there.status} (${there.reason})`);
  // A cancel that was lost and repeated is answered "Unknown order": only a busy proxy's says that nothing was done.
  const mayBeGone =
    cancels.some(({ told }) => told.kind !== 'not-done' || !told.error.startsWith('EService:Busy')) ||
    edits.some(({ told }) => told.kind !== 'not-done');
  if (rests && !mayBeGone && there.status !== 'open')
    faults.push(`nobody canceled it, but it is ${there.status}`);
  return faults;
}

/** Every `EProxy:Outcome unknown` that a bot got. @param {import('./bots.mjs').Book} book */
export function unknownAnswers(book) {
  return book.calls.flatMap((call) =>
    call.attempts
      .filter(({ answer }) => answer?.code === 'outcome-unknown')
      .map((attempt) => ({ call, attempt })),
  );
}

/**
 * Calls whose outcome was unknown though Kraken could be asked: not one of the proxy's questions in its last moments
 * (or, for a cancel, of its tries) was hit by a fault. @param {Evidence} evidence @returns {Violation[]}
 */
function unexcused(evidence) {
  /** @type {Map<Call, string[]>} */
  const reasons = new Map();
  for (const { call, attempt } of unknownAnswers(evidence.book)) {
    if (isExcused(evidence, call, attempt)) continue;
    reasons.set(call, [...(reasons.get(call) ?? []), reasonOf(evidence, attempt)]);
  }
  return [...reasons].map(([call, all]) => ({
    what: `${call.endpoint}: unknown ${all.length} times though Kraken could be asked: ${[...new Set(all)].join('; ')}`,
    call,
  }));
}

/** What the proxy logged of an attempt. @param {Evidence} evidence @param {Attempt} attempt @returns {string} */
export function reasonOf({ log }, { answer }) {
  return (
    log.find(({ requestId, reason }) => requestId === answer?.requestId && reason !== undefined)?.reason ??
    '?'
  );
}

/** @param {Evidence} evidence @param {Call} call @param {Attempt} attempt */
export function isExcused({ sandbox, trouble }, call, { at, ms }) {
  const isCancel = call.endpoint === 'CancelOrder';
  const from = isCancel ? at : at + ms - LAST_MOMENTS_MS;
  const clientId =
    call.endpoint === 'AddOrder' ? ownId(sandbox.received.find((one) => isOf(one, call))) : undefined;
  return sandbox.received.some((one) => {
    if (one.at < from || one.at > at + ms || one.key?.includes(call.account) !== true) return false;
    const fault = trouble.faultOf(one.seq)?.kind;
    if (fault === undefined) return false;
    // Whatever hangs keeps the lane from all others.
    if (isOf(one, call) || fault.startsWith('hang')) return true;
    return (
      !isCancel &&
      QUESTIONS.has(one.endpoint ?? '') &&
      (clientId === undefined || one.rawBody.includes(clientId))
    );
  });
}

/** Kraken must see rising nonces and one call at a time. @param {Evidence} evidence @returns {Violation[]} */
function orderOfCalls({ sandbox, trouble }) {
  /** @type {Violation[]} */
  const violations = [];
  for (const call of sandbox.received)
    if (call.error === 'EAPI:Invalid nonce' && trouble.faultOf(call.seq)?.kind !== 'late')
      violations.push({ what: `call ${call.seq} (${call.endpoint}) has an invalid nonce, ${call.nonce}` });
  for (const seq of trouble.overlaps)
    violations.push({ what: `call ${seq} came while another of its key was in flight` });
  return violations;
}

/** Whether the sandbox's call is one of the bot's. @param {ReceivedCall} one @param {Call} call */
function isOf(one, call) {
  if (one.endpoint !== call.endpoint) return false;
  const text = one.rawBody.toString();
  return call.endpoint === 'AddOrderBatch'
    ? text.includes(call.body.slice(call.body.lastIndexOf('"volume"'), -3))
    : text.endsWith(call.body) || text.includes(call.body);
}

/** All that is known of a call: what the bot sent and was told, what Kraken received, what the proxy logged. */
export function storyOf(/** @type {Evidence} */ { sandbox, trouble, log }, /** @type {Call} */ call) {
  const lines = [`  ${call.bot} on ${call.account}, id ${call.id} ${call.headers['idempotency-key'] ?? ''}`];
  lines.push(`  ${call.endpoint} ${call.body}`);
  for (const { at, ms, proxy, life, answer, failure } of call.attempts) {
    const told =
      answer === undefined ? failure : `${answer.body} ${answer.code} ${answer.outcome} ${answer.requestId}`;
    const replayed = answer?.isReplayed === true ? ' (replayed)' : '';
    lines.push(`  bot  ${time(at)} ${proxy} life ${life}, after ${ms.toFixed(0)} ms: ${told}${replayed}`);
  }
  lines.push(`  in the end: ${JSON.stringify(call.told)}`);
  const from = (call.attempts[0]?.at ?? 0) - 100;
  const last = call.attempts.at(-1);
  const to = (last?.at ?? 0) + (last?.ms ?? 0) + 8_000;
  const ids = new Set(call.attempts.map(({ answer }) => answer?.requestId));
  const own = sandbox.received.filter((one) => isOf(one, call));
  const clientId = ownId(own[0]);
  for (const one of sandbox.received) {
    if (one.at < from || one.at > to) continue;
    const isQuestion = QUESTIONS.has(one.endpoint ?? '') && one.key?.includes(call.account) === true;
    const asks = clientId !== undefined && one.rawBody.includes(clientId);
    if (own.includes(one) || (isQuestion && (asks || call.endpoint !== 'AddOrder')))
      lines.push(kraken(one, trouble));
  }
  for (const line of log) {
    const at = Date.parse(line.time);
    if (at < from || at > to) continue;
    if (ids.has(line.requestId) || line.client === call.bot) lines.push(`  log  ${JSON.stringify(line)}`);
  }
  return lines.slice(0, 80).join('\n');
}

/** @param {ReceivedCall} one @param {import('./trouble.mjs').Trouble} trouble */
function kraken(one, trouble) {
  const fault = trouble.faultOf(one.seq);
  const hit = fault === undefined ? '' : ` FAULT ${JSON.stringify(fault)}`;
  const body = one.rawBody.toString().slice(0, 400);
  return `  sandbox ${time(one.at)} #${one.seq} ${one.endpoint} ${body} executed ${one.executed}, ${one.error ?? 'no error'}${hit}`;
}

/** The cl_ord_id that an order reached Kraken with. @param {ReceivedCall | undefined} one */
function ownId(one) {
  return /cl_ord_id=([^&]+)/.exec(one?.rawBody.toString() ?? '')?.[1];
}

/** @param {number} ms */
function time(ms) {
  return new Date(ms).toISOString().slice(11, 23);
}
