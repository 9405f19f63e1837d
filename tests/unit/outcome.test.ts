import type { EndpointClass } from '../../src/kraken/endpoints.js';
import * as outcomes from '../../src/kraken/outcome.js';
import type { Outcome, Remedy, Verdict } from '../../src/kraken/outcome.js';
import { UpstreamError, type UpstreamReply } from '../../src/kraken/transport.js';
import { cloudflarePage } from '../../src/sandbox/cloudflare-page.js';

const { errorClass, outcomeOf, verdictOf } = outcomes;

/** What Kraken's clock shows, ms. */
const NOW = 1_795_000_000_000;
const CLASSES: readonly EndpointClass[] = ['read', 'idempotent', 'exclusive'];

/** How a reply's end was told. */
type Framing = 'content-length' | 'chunks' | 'end of connection';

function reply(body: string | Buffer, options: Partial<ReplyOptions> = {}): UpstreamReply {
  const { status = 200, contentType = 'application/json', framing = 'content-length' } = options;
  const bytes = Buffer.from(body);
  const headers: Record<string, string> = { 'content-type': contentType };
  if (framing === 'content-length') headers['content-length'] = String(bytes.length);
  if (framing === 'chunks') headers['transfer-encoding'] = 'chunked';
  return { status, headers, body: bytes };
}

interface ReplyOptions {
  readonly status: number;
  readonly contentType: string;
  readonly framing: Framing;
}

function verdict(result: UpstreamReply | UpstreamError, endpointClass: EndpointClass = 'read'): Verdict {
  return outcomeOf(result, { class: endpointClass }, () => NOW);
}

function envelope(...errors: string[]): UpstreamReply {
  return reply(JSON.stringify({ error: errors }));
}

/** What a row of the table says for one class of endpoint. */
interface Expected {
  readonly outcome: Outcome;
  readonly remedy: Remedy;
  readonly unavailable: boolean;
}

type Row = readonly [
  errors: readonly string[],
  outcome: Outcome,
  remedies: Readonly<Record<EndpointClass, Remedy>>,
];

const always = (remedy: Remedy): Readonly<Record<EndpointClass, Remedy>> => ({
  read: remedy,
  idempotent: remedy,
  exclusive: remedy,
});
const PASSED_ON = always({ kind: 'none' });
const ROOM = always({ kind: 'wait-for-room' });
/** Kraken has answered, but not what became of the call. */
const DOUBTFUL = {
  read: { kind: 'none' },
  idempotent: { kind: 'try-again' },
  exclusive: { kind: 'settle' },
} as const;
/** No answer of Kraken's API at all. */
const LOST = {
  read: { kind: 'try-again' },
  idempotent: { kind: 'try-again' },
  exclusive: { kind: 'settle' },
} as const;

/** KRAKEN.md 3.1 to 3.3, 4.1 and 4.2, written out. */
const TABLE: readonly Row[] = [
  [['EAPI:Invalid nonce'], 'refused', always({ kind: 'new-nonce' })],
  [
    [
      'EAPI:Rate limit exceeded',
      'EGeneral:Too many requests',
      'EAuth:Rate limit exceeded',
      'EAuth:Too many requests',
      'EService:Throttled',
    ],
    'refused',
    ROOM,
  ],
  [['EOrder:Rate limit exceeded'], 'refused', always({ kind: 'engine-full' })],
  [['EGeneral:Temporary lockout'], 'refused', always({ kind: 'open-breaker', why: 'lockout' })],
  [['EAPI:Invalid key'], 'refused', always({ kind: 'open-breaker', why: 'key' })],
  [['EAPI:Invalid signature'], 'refused', always({ kind: 'open-breaker', why: 'signature' })],
  [
    [
      'EAPI:Bad request',
      'EAPI:Feature disabled',
      'EGeneral:Permission denied',
      'EGeneral:Unknown method',
      'EGeneral:Invalid arguments',
      'EGeneral:Invalid arguments:cl_ord_id',
      'EGeneral:Invalid arguments:cl_ord_id not unique',
      'EGeneral:Invalid arguments:ordertype',
      'EGeneral:Invalid arguments:volume',
      'EGeneral:Invalid arguments:price',
      'EGeneral:Invalid arguments:viqc',
      'EGeneral:Invalid arguments:Index unavailable',
      'EGeneral:Invalid arguments:Invalid strategy ID',
      'EGeneral:Invalid User',
      'EGeneral:Invalid User 17',
      'EAuth:Failed',
      'EAuth:Account temporary disabled',
      'EAuth:Account unconfirmed',
      'EAccount:Invalid permissions',
      'ESession:Invalid session',
      'EQuery:Unknown asset',
      'EQuery:Unknown asset pair',
      'EQuery:Invalid asset pair',
      'EOrder:Insufficient funds',
      'EOrder:Insufficient margin',
      'EOrder:Margin allowance exceeded',
      'EOrder:Margin level too low',
      'EOrder:Margin position size exceeded',
      'EOrder:Cannot open position',
      'EOrder:Cannot open opposing position',
      'EOrder:Order minimum not met',
      'EOrder:Cost minimum not met',
      'EOrder:Tick size check failed',
      'EOrder:Invalid price',
      'EOrder:Invalid order',
      'EOrder:Unknown order',
      'EOrder:Unknown position',
      'EOrder:Orders limit exceeded',
      'EOrder:Positions limit exceeded',
      'EOrder:Scheduled orders limit exceeded',
      'EOrder:Domain rate limit exceeded',
      'EOrder:Trading agreement required',
      'EOrder:Reduce only:No position exists',
      'EOrder:Reduce only:Non-PC',
      'EOrder:Cancel pending',
      'EService:Market in cancel_only mode',
      'EService:Market in post_only mode',
      'EService:Deadline elapsed',
      'ETrade:Locked',
      'ETrade:User Locked',
      'ETrade:Invalid request',
      'EBM:limit exceeded:CAL',
      'EFunding:Max fee exceeded',
      'EFunding:Invalid amount',
      'EFunding:Invalid reference id',
      'EFunding:Unknown reference id',
      'EFunding:Unknown withdraw key',
      'EFunding:Unknown asset',
      'EFunding:No funding method',
      'EFunding:Too many addresses',
      'EFunding:Invalid staking method',
      'EEarnings:Below min',
      'EEarnings:Above max',
      'EEarnings:Busy',
      'EEarnings:Permission denied',
      'EEarnings:Insufficient funds',
    ],
    'refused',
    PASSED_ON,
  ],
  [
    [
      'EService:Unavailable',
      'EService:Busy',
      'EService:Timeout',
      'EGeneral:Internal error',
      'EDatabase:Internal error',
      'EGeneral:Unknown error',
      // Part of it may have been executed.
      'EOrder:Reduce only:Position is closed',
    ],
    'unknown',
    DOUBTFUL,
  ],
];

const UNAVAILABLE = ['EService:Unavailable', 'EService:Busy', 'EService:Timeout'];

/** In no list, or like one that is: nobody knows. */
const STRANGE = [
  'EGeneral:Timeout',
  'EOrder:Internal error',
  'EAPI:Internal error',
  'EService:Gateway timeout',
  'EService:Request timed out',
  'EService:Unavailable now',
  'EOrder:Insufficient funds and more',
  'EOrder:Insufficient',
  'EOrder:Reduce only',
  'EBM:limit exceeded',
  'ENew:Invalid nonce',
  'EAPI:Invalid nonces',
  'EAPI:invalid nonce',
  'EAPI',
  'E',
];

/** As it stands, with a detail, with blanks after its colons: the lists differ in that. */
function spellings(error: string): string[] {
  const spellings = [error, `${error}:some detail`, `${error}: some detail`, `${error}:x:y`];
  return [...spellings, ...spellings.map((text) => text.replaceAll(/:(?=\S)/g, ': '))];
}

const rows = TABLE.flatMap(([errors, outcome, remedies]) =>
  errors.flatMap((error) => CLASSES.map((each) => [error, each, outcome, remedies[each]] as const)),
);

describe("Kraken's errors", () => {
  it('are listed here apart from the source, which gives none of its lists away', () => {
    expect(Object.keys(outcomes).sort()).toEqual(['errorClass', 'outcomeOf', 'verdictOf']);
    expect(rows.length).toBeGreaterThan(3 * 80);
  });

  it.each(rows)('%s on an %s call: %s, %j', (error, endpointClass, outcome, remedy) => {
    const unavailable = UNAVAILABLE.includes(error);
    for (const text of spellings(error)) {
      const expected: Expected = { outcome, remedy, unavailable };
      expect(verdict(envelope(text), endpointClass)).toEqual({ ...expected, sent: true, error: text });
    }
  });

  it.each(STRANGE)('%s leaves the outcome open', (error) => {
    for (const endpointClass of CLASSES) {
      expect(verdict(envelope(error), endpointClass)).toEqual({
        ...{ outcome: 'unknown', sent: true, error, unavailable: false },
        remedy: DOUBTFUL[endpointClass],
      });
    }
  });

  it('that do not begin with E or W leave the outcome open', () => {
    expect(verdict(envelope('XEAPI:Invalid nonce'), 'exclusive')).toMatchObject({
      outcome: 'unknown',
      remedy: { kind: 'settle' },
    });
  });
});

describe('a throttle', () => {
  const seconds = NOW / 1_000;
  it.each([
    ['in a second', `EService:Throttled:${seconds + 1}`, 1_000],
    ['with a blank before the time', `EService:Throttled: ${seconds + 5}`, 5_000],
    ['with blanks everywhere', `EService: Throttled: ${seconds + 5}`, 5_000],
    ['with a blank after the text', `EService: Throttled : ${seconds + 5}`, 5_000],
    ['with something behind', `EService: Throttled: ${seconds + 5}: x`, 5_000],
    ['of a part of a second', `EService: Throttled: ${seconds + 1}.25`, 1_250],
    ['in ms', `EService: Throttled: ${NOW + 2_500}`, 2_500],
    ['in ten minutes', `EService: Throttled: ${seconds + 600}`, 600_000],
  ])('%s tells until when to wait', (_, error, ms) => {
    for (const each of CLASSES) {
      expect(verdict(envelope(error), each)).toMatchObject({
        outcome: 'refused',
        error,
        remedy: { kind: 'wait-until', at: NOW + ms },
      });
    }
  });

  it.each([
    ['without a time', 'EService:Throttled'],
    ['with an empty time', 'EService:Throttled:'],
    ['with a blank for a time', 'EService: Throttled: '],
    ['that is over', `EService: Throttled: ${seconds - 1}`],
    ['that ends now', `EService: Throttled: ${seconds}`],
    ['too far away', `EService: Throttled: ${seconds + 601}`],
    ['too far away, in ms', `EService: Throttled: ${NOW + 600_001}`],
    ['in us', `EService: Throttled: ${NOW}000`],
    ['in ns', `EService: Throttled: ${NOW}000000`],
    ['of very many digits', `EService: Throttled: ${'9'.repeat(400)}`],
    ['of a duration', 'EService: Throttled: 5'],
    ['of zero', 'EService: Throttled: 0'],
    ['below zero', `EService: Throttled: -${seconds}`],
    ['in hexadecimal', 'EService: Throttled: 0x6afd3b01'],
    ['in words', 'EService: Throttled: soon'],
    ['of Infinity', 'EService: Throttled: Infinity'],
    ['of a date', 'EService: Throttled: 2026-11-22T00:00:00Z'],
  ])('%s is waited for as a full counter is', (_, error) => {
    expect(verdict(envelope(error), 'exclusive')).toMatchObject({
      outcome: 'refused',
      error,
      remedy: { kind: 'wait-for-room' },
    });
  });

  it('of several is over with the last', () => {
    const errors = [1, 7, 3].map((s) => `EService: Throttled: ${seconds + s}`);
    expect(verdict(envelope(...errors)).remedy).toEqual({ kind: 'wait-until', at: NOW + 7_000 });
  });

  it("is measured by the system's clock where no other is given", () => {
    const error = `EService:Throttled:${Math.floor(Date.now() / 1_000) + 60}`;
    expect(outcomeOf(envelope(error), { class: 'read' }).remedy.kind).toBe('wait-until');
  });
});

describe('several errors', () => {
  it('are a refusal only if each of them is one', () => {
    const errors = ['EOrder:Insufficient funds', 'EService:Unavailable'];
    for (const list of [errors, errors.toReversed()]) {
      expect(verdict(envelope(...list), 'exclusive')).toEqual({
        outcome: 'unknown',
        sent: true,
        error: list[0],
        remedy: { kind: 'settle' },
        unavailable: true,
      });
    }
    expect(verdict(envelope('EOrder:Insufficient funds', 'EOrder:Invalid price')).outcome).toBe('refused');
  });

  it('have the remedy of the most dangerous', () => {
    const byDanger = [
      'EGeneral:Temporary lockout',
      'EAPI:Invalid key',
      'EAPI:Invalid signature',
      'EAPI:Invalid nonce',
      `EService:Throttled:${NOW / 1_000 + 9}`,
      'EAPI:Rate limit exceeded',
      'EOrder:Rate limit exceeded',
      'EOrder:Insufficient funds',
    ];
    for (const [index, error] of byDanger.entries()) {
      const alone = verdict(envelope(error), 'exclusive').remedy;
      for (const lesser of byDanger.slice(index + 1)) {
        expect(verdict(envelope(lesser, error), 'exclusive').remedy).toEqual(alone);
        expect(verdict(envelope(error, lesser), 'exclusive').remedy).toEqual(alone);
      }
    }
  });

  it('never let an exclusive call be repeated while one of them is ambiguous', () => {
    for (const error of ['EAPI:Invalid nonce', 'EAPI:Rate limit exceeded', 'EOrder:Rate limit exceeded']) {
      const both = envelope(error, 'EService:Unavailable');
      expect(verdict(both, 'exclusive')).toMatchObject({ outcome: 'unknown', remedy: { kind: 'settle' } });
      expect(verdict(both, 'idempotent').remedy).toEqual(verdict(envelope(error)).remedy);
    }
  });

  it('open the breaker even where the outcome stays open', () => {
    expect(verdict(envelope('EService:Busy', 'EAPI:Invalid key'), 'exclusive')).toMatchObject({
      outcome: 'unknown',
      remedy: { kind: 'open-breaker', why: 'key' },
    });
  });

  it('with a result leave the outcome open: it may be that of a part', () => {
    for (const error of ['EOrder:Insufficient funds', 'EAPI:Invalid nonce', 'EAPI:Rate limit exceeded']) {
      const partly = reply(JSON.stringify({ error: [error], result: { txid: ['O'] } }));
      expect(verdict(partly, 'exclusive')).toMatchObject({
        outcome: 'unknown',
        error,
        remedy: { kind: 'settle' },
      });
    }
  });

  it('are told before a warning', () => {
    const errors = ['WGeneral:Deprecated', 'EOrder:Insufficient funds'];
    expect(verdict(envelope(...errors))).toMatchObject({ outcome: 'refused', error: errors[1] });
  });
});

describe('a result', () => {
  it.each([
    ['as Kraken writes it', '{"error":[],"result":{"txid":["O"]}}'],
    ['with null as its result', '{"error":[],"result":null}'],
    ['with false as its result', '{"error":[],"result":false}'],
    ['with blanks', ' { "error" : [ ] ,\n "result" : { } } \n'],
    ['with the result first', '{"result":{"a":1},"error":[]}'],
    ['of megabytes', `{"error":[],"result":{"x":"${'x'.repeat(2_000_000)}"}}`],
    ['of megabytes, with blanks', `{ "error": [], "result": { "x": "${'x'.repeat(2_000_000)}" } }`],
    ['with a word error inside', '{"error":[],"result":{"error":["EOrder:Insufficient funds"]}}'],
  ])('is an executed call: %s', (_, body) => {
    for (const framing of ['content-length', 'chunks', 'end of connection'] as const) {
      const executed = verdict(reply(body, { framing }), 'exclusive');
      const nothing = { error: undefined, remedy: { kind: 'none' }, unavailable: false };
      expect(executed).toEqual({ outcome: 'executed', sent: true, ...nothing });
      expect(verdict(reply('{"error":[],"result":{}}'))).toBe(executed); // one object for all of them
    }
  });

  it('beside a warning is an executed call, and the warning is told', () => {
    for (const each of CLASSES) {
      expect(verdict(reply('{"error":["WGeneral:Deprecated:nompp"],"result":{}}'), each)).toEqual({
        outcome: 'executed',
        sent: true,
        error: 'WGeneral:Deprecated:nompp',
        remedy: { kind: 'none' },
        unavailable: false,
      });
    }
  });

  it('cannot be changed by whoever gets it', () => {
    const executed = verdict(reply('{"error":[],"result":{}}'));
    expect(Object.isFrozen(executed)).toBe(true);
    expect(Object.isFrozen(executed.remedy)).toBe(true);
  });

  it.each(['PK\u0003\u0004', 'PK\u0005\u0006'])('may be an export: a zip that begins with %j', (zip) => {
    const contentType = 'application/octet-stream';
    expect(verdict(reply(zip, { contentType })).outcome).toBe('executed');
    expect(verdict(reply(zip)).outcome).toBe('unknown');
  });

  it.each([
    ['nothing', '', 'unknown'],
    ['one byte', 'P', 'unknown'],
    ['HTML', cloudflarePage(502), 'unknown'],
    ['an error', '{"error":["EGeneral:Invalid arguments"]}', 'refused'],
    ['a result', '{"error":[],"result":{}}', 'executed'],
  ] as const)('is not there when the place of an export holds %s', (_, body, outcome) => {
    expect(verdict(reply(body, { contentType: 'application/octet-stream' })).outcome).toBe(outcome);
  });
});

describe('a reply that tells nothing', () => {
  const expected = (each: EndpointClass): Partial<Verdict> => ({
    ...{ outcome: 'unknown', sent: true, error: undefined, unavailable: false },
    remedy: LOST[each],
  });

  it.each([
    ['no error and no result', '{"error":[]}'],
    ['no error and no result, with blanks', '{ "error": [] }\n'],
    ['no error and something else', '{"error":[],"foo":1}'],
    ['nothing', ''],
    ['blanks', ' \n'],
    ['a byte', '{'],
    ['half an envelope', '{"error":["EOrder:Insuff'],
    ['HTML', cloudflarePage(502)],
    ['an array', '["EOrder:Insufficient funds"]'],
    ['null', 'null'],
    ['a number', '200'],
    ['an error that is no list', '{"error":"EOrder:Insufficient funds"}'],
    ['an error of another shape', '{"error":{"0":"EOrder:Insufficient funds"}}'],
    ['another API', '{"result":"success"}'],
    [
      'an error longer than any of them',
      JSON.stringify({ error: ['EAPI:Bad request:'.padEnd(70_000, 'x')] }),
    ],
  ])('with %s', (_, body) => {
    for (const each of CLASSES) expect(verdict(reply(body), each)).toEqual(expected(each));
  });

  it.each([
    ['a warning and no result', '{"error":["WGeneral:Deprecated"]}', 'WGeneral:Deprecated'],
    ['an error that is no error text', '{"error":["Insufficient funds"]}', 'Insufficient funds'],
  ])('with %s is passed on to who has only asked', (_, body, error) => {
    for (const each of CLASSES) {
      expect(verdict(reply(body), each)).toEqual({ ...expected(each), error, remedy: DOUBTFUL[each] });
    }
  });

  const bodies = [
    '{"error":[],"result":{"descr":{"order":"buy 1"},"txid":["O"]}}',
    '{"error":[],"result":{"a":{},"b":{"c":{}}}}',
    '{ "error" : [ ] , "result" : { "a" : { } } }',
    '{"result":{"a":{}},"error":[]}',
    '{"error":["WGeneral:Deprecated"],"result":{"a":{}}}',
    '{"error":["EOrder:Insufficient funds","EAPI:Invalid nonce"]}',
  ];
  it.each(bodies)('because it is cut off, wherever: %s', (body) => {
    expect(verdict(reply(body, { framing: 'end of connection' })).outcome).not.toBe('unknown');
    for (let length = 0; length < body.length; length++) {
      const part = reply(body.slice(0, length), { framing: 'end of connection' });
      for (const each of CLASSES) expect(verdict(part, each)).toEqual(expected(each));
    }
  });

  it.each(bodies)('because it is cut off though its length is right: %s', (body) => {
    for (let length = 0; length < body.length; length++) {
      const part = body.slice(0, length);
      // Behind an inner brace only the framing can tell, and it says that this is all.
      if (part.endsWith('}') && body.startsWith('{"error":[],')) continue;
      if (part.trimEnd().endsWith('}') && body.startsWith('{ "error" : [ ]')) continue;
      for (const framing of ['content-length', 'chunks'] as const)
        for (const each of CLASSES) expect(verdict(reply(part, { framing }), each)).toEqual(expected(each));
    }
  });

  it.each([201, 204, 301, 302, 400, 403, 404, 429])('with HTTP %i, whatever its body says', (status) => {
    for (const body of ['{"error":[],"result":{}}', '{"error":["EOrder:Insufficient funds"]}', '', '<html>'])
      for (const each of CLASSES) expect(verdict(reply(body, { status }), each)).toEqual(expected(each));
  });

  it.each([500, 502, 503, 504, 520, 521, 522, 523, 524, 527, 530])(
    'with HTTP %i: Kraken is away',
    (status) => {
      for (const body of [
        '{"error":[],"result":{}}',
        '{"error":["EAPI:Invalid nonce"]}',
        cloudflarePage(status),
      ])
        for (const each of CLASSES) {
          expect(verdict(reply(body, { status }), each)).toEqual({ ...expected(each), unavailable: true });
        }
    },
  );
});

describe('a call that got no reply', () => {
  const neverSent = {
    outcome: 'refused',
    sent: false,
    error: undefined,
    remedy: { kind: 'try-again' },
    unavailable: true,
  };

  it.each([
    'ENOTFOUND: getaddrinfo',
    'ECONNREFUSED: connect',
    'UND_ERR_CONNECT_TIMEOUT: connect',
    'ERR_TLS_CERT_ALTNAME_INVALID: TLS',
    'no whole reply within 15000 ms',
  ])('and never left (%s) was not executed, and may be sent again', (message) => {
    for (const each of CLASSES) expect(verdict(new UpstreamError('never', message), each)).toEqual(neverSent);
  });

  it.each([525, 526])('from Kraken because of HTTP %i was not executed, and may be sent again', (status) => {
    for (const each of CLASSES) expect(verdict(reply('', { status }), each)).toEqual(neverSent);
  });

  it.each([
    'ECONNRESET: read',
    'UND_ERR_SOCKET: other side closed',
    'UND_ERR_RES_CONTENT_LENGTH_MISMATCH: body',
    'HPE_INVALID_CONSTANT: parse',
    'no whole reply within 15000 ms',
  ])('after it may have left (%s) may have been executed', (message) => {
    for (const each of CLASSES) {
      expect(verdict(new UpstreamError('maybe', message), each)).toEqual({
        outcome: 'unknown',
        sent: true,
        error: undefined,
        remedy: LOST[each],
        unavailable: true,
      });
    }
  });
});

it('a verdict for those who only pass the reply on is that of a read', () => {
  for (const body of ['{"error":[],"result":{}}', '{"error":["EService:Busy"]}', '{"error":[]}', '']) {
    expect(verdictOf(reply(body))).toEqual(verdict(reply(body), 'read'));
  }
});

describe("Kraken's class of an error", () => {
  it.each([
    ['EOrder:Insufficient funds', 'EOrder'],
    ['EService: Throttled: 1', 'EService'],
    ['EBM:limit exceeded:CAL', 'EBM'],
    ['WGeneral:Deprecated', 'WGeneral'],
    ['ENew:Something', 'other'],
    ['EOrder', 'other'],
    ['', 'other'],
    ['Esomething else', 'other'],
    [`E${'a'.repeat(100)}:x`, 'other'],
  ])('of %j is %s', (error, name) => {
    expect(errorClass(error)).toBe(name);
  });
});
