import { cloudflarePage } from '../../src/sandbox/cloudflare-page.js';
import { errorClass, verdictOf, type Verdict } from '../../src/kraken/outcome.js';

function verdict(body: string | Buffer, status = 200, contentType = 'application/json'): Verdict {
  return verdictOf({ status, headers: { 'content-type': contentType }, body: Buffer.from(body) });
}

function envelope(...errors: string[]): string {
  return JSON.stringify({ error: errors });
}

// KRAKEN.md 4.1
const REFUSED = [
  'EAPI:Invalid nonce',
  'EAPI:Rate limit exceeded',
  'EGeneral:Too many requests',
  'EService: Throttled: 1795000000',
  'EService:Throttled:1795000000',
  'EAuth:Rate limit exceeded',
  'EAuth:Too many requests',
  'EGeneral:Temporary lockout',
  'EAPI:Invalid key',
  'EAPI:Invalid signature',
  'EAPI:Bad request',
  'EAPI:Feature disabled',
  'EAPI:Feature disabled:x',
  'EGeneral:Permission denied',
  'EGeneral:Unknown method',
  'EGeneral:Invalid arguments',
  'EGeneral:Invalid arguments:cl_ord_id not unique',
  'EGeneral:Invalid User',
  'EAuth:Failed',
  'EAuth:Account temporary disabled',
  'EAccount:Invalid permissions',
  'ESession:Invalid session',
  'EQuery:Unknown asset pair',
  'EOrder:Insufficient funds',
  'EOrder:Order minimum not met',
  'EOrder:Unknown order',
  'EOrder:Rate limit exceeded',
  'EOrder:Reduce only:No position exists',
  'EOrder:Reduce only:Non-PC',
  'EService:Market in cancel_only mode',
  'EService:Market in post_only mode',
  'EService:Deadline elapsed',
  'ETrade:Locked',
  'EBM:limit exceeded:CAL',
  'EFunding:Unknown withdraw key',
  'EEarnings:Busy',
  'EEarnings:Busy:x',
];

// KRAKEN.md 4.2, and the one of 4.1 after which part of the order may have been executed
const UNKNOWN = [
  'EService:Unavailable',
  'EService: Unavailable',
  'EService:Busy',
  'EService:Timeout',
  'EGeneral:Internal error',
  'EGeneral:Internal error:1234',
  'EDatabase:Internal error',
  'EGeneral:Unknown error',
  'EOrder:Reduce only:Position is closed',
  // Not in any list: nobody knows.
  'EGeneral:Timeout',
  'EOrder:Internal error',
  'EAPI:Internal error',
  'EService:Gateway timeout',
  'EService:Request timed out',
  'EOrder:Insufficient funds and more',
  'ENew:Invalid nonce',
  'XEAPI:Invalid nonce',
];

describe('the outcome of a call', () => {
  it.each(REFUSED)('%s: refused, certainly not executed', (error) => {
    expect(verdict(envelope(error))).toEqual({ outcome: 'refused', error });
  });

  it.each(UNKNOWN)('%s: unknown', (error) => {
    expect(verdict(envelope(error))).toEqual({ outcome: 'unknown', error });
  });

  it('is unknown when one of several errors is ambiguous', () => {
    const errors = ['EOrder:Insufficient funds', 'EService:Unavailable'];
    expect(verdict(envelope(...errors))).toEqual({ outcome: 'unknown', error: errors[0] });
  });

  it('is unknown when a refusal comes with a result: it may be that of a part', () => {
    const body = '{"error":["EOrder:Insufficient funds"],"result":{"txid":["O"]}}';
    expect(verdict(body)).toEqual({ outcome: 'unknown', error: 'EOrder:Insufficient funds' });
  });

  it('is told by the error, not by the warning before it', () => {
    const errors = ['WGeneral:Deprecated', 'EOrder:Insufficient funds'];
    expect(verdict(envelope(...errors))).toEqual({ outcome: 'refused', error: errors[1] });
  });

  it.each([
    ['as Kraken writes it', '{"error":[],"result":{"txid":["O"]}}'],
    ['with null as its result', '{"error":[],"result":null}'],
    ['with false as its result', '{"error":[],"result":false}'],
    ['with blanks', ' { "error" : [ ] ,\n "result" : { } } \n'],
    ['with the result first', '{"result":{"a":1},"error":[]}'],
    ['of megabytes', `{"error":[],"result":"${'x'.repeat(2_000_000)}"}`],
    ['of megabytes, with blanks', `{ "error": [], "result": "${'x'.repeat(2_000_000)}" }`],
    ['with a word error inside', '{"error":[],"result":{"error":["EOrder:Insufficient funds"]}}'],
  ])('is executed with a result: %s', (_, body) => {
    expect(verdict(body)).toEqual({ outcome: 'executed', error: undefined });
  });

  it('is executed with a result beside a warning, which is told', () => {
    const body = '{"error":["WGeneral:Deprecated:nompp"],"result":{}}';
    expect(verdict(body)).toEqual({ outcome: 'executed', error: 'WGeneral:Deprecated:nompp' });
  });

  it('is executed when an export comes as a zip', () => {
    const zip = Buffer.from('PK\u0003\u0004');
    expect(verdict(zip, 200, 'application/octet-stream').outcome).toBe('executed');
  });

  it.each([
    ['no error and no result', '{"error":[]}'],
    ['no error and no result, with blanks', '{ "error": [] }\n'],
    ['no error and something else', '{"error":[],"foo":1}'],
    ['a warning and no result', '{"error":["WGeneral:Deprecated"]}'],
    ['a result that is cut off', '{"error":[],"result":{"txid":["O'],
    ['nothing', ''],
    ['half an envelope', '{"error":["EOrder:Insuff'],
    ['HTML', cloudflarePage(502)],
    ['an array', '["EOrder:Insufficient funds"]'],
    ['null', 'null'],
    ['an error that is no list', '{"error":"EOrder:Insufficient funds"}'],
    ['an error of another shape', '{"error":{"0":"EOrder:Insufficient funds"}}'],
    ['an error that is no error text', '{"error":["Insufficient funds"]}'],
    ['another API', '{"result":"success"}'],
  ])('is unknown with %s', (_, body) => {
    expect(verdict(body).outcome).toBe('unknown');
  });

  it.each([201, 204, 301, 429, 500, 502, 503, 504, 520, 521, 522, 525, 530])(
    'is unknown with HTTP %i',
    (status) => {
      expect(verdict('{"error":[],"result":{}}', status)).toEqual({ outcome: 'unknown', error: undefined });
      expect(verdict(envelope('EOrder:Insufficient funds'), status).outcome).toBe('unknown');
    },
  );
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
