import { createHash, createHmac } from 'node:crypto';
import { parseBody } from '../../src/kraken/body.js';
import { createSigner, decodeSecret } from '../../src/kraken/signature.js';

const SECRET = 'kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg==';
const NONCE = '1616492376594';
const ADD_ORDER = '/0/private/AddOrder';

// KRAKEN.md 1.3: two of Kraken's own, two derived from the same rule.
const VECTORS = [
  {
    title: 'Kraken’s vector for a form (REST authentication)',
    path: ADD_ORDER,
    body: `nonce=${NONCE}&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25`,
    sign: '4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ==',
  },
  {
    title: 'Kraken’s vector for JSON and a query (custody authentication)',
    path: '/0/private/GetCustodyTask?id=TGWOJ4JQPOTZT2',
    body: `{"nonce":${NONCE}}`,
    sign: '2rM09q8HG7LvjivBitQUybwZ/DSeO8+i0U/at/wclH2Jma6gMaE/0Nw9dyLR+ykMd5eWCngSL4K58i6uJzXDCw==',
  },
  {
    title: 'derived: JSON with the nonce as a string',
    path: ADD_ORDER,
    body: `{"nonce":"${NONCE}","ordertype":"limit","pair":"XBTUSD","price":37500,"type":"buy","volume":1.25}`,
    sign: 'BVT3EumzzXSJHlvrinSwICz5uKKlSZPXL9cJIuKqn7ZMhHSbbtXhGdvwoDBmRz6ALXI+GVxFD0ZlGuOmfi2bxA==',
  },
  {
    title: 'derived: JSON with the nonce as a number',
    path: ADD_ORDER,
    body: `{"nonce":${NONCE},"ordertype":"limit","pair":"XBTUSD","price":37500,"type":"buy","volume":1.25}`,
    sign: 'kt1BXzwIvefKvBv6KKk2EDnbrxEGNWetNmjmXyYDHXIJYlIwvW0mQvC/OkeGzEt4OUvVS49Qd9gSBNMfE3iZ7Q==',
  },
];

describe('API-Sign', () => {
  const signer = createSigner(SECRET);

  it.each(VECTORS)('reproduces $title', ({ path, body, sign }) => {
    expect(signer.sign(path, NONCE, Buffer.from(body))).toBe(sign);
  });

  it.each(VECTORS)('is the same for the body as the surgery completes it: $title', ({ path, body, sign }) => {
    // The client's own nonce differs; everything else is as in the vector.
    const fromClient = Buffer.from(body.replace(NONCE, '7'));
    const completed = parseBody(fromClient, undefined).complete(BigInt(NONCE));
    expect(completed.toString()).toBe(body);
    expect(signer.sign(path, NONCE, completed)).toBe(sign);
  });

  it('follows the formula for a body in other scripts and an empty one', () => {
    for (const body of ['', 'nonce=1&name=Zürich%20東京', '{"nonce":1,"a":"💶"}']) {
      const digest = createHash('sha256').update(`1${body}`, 'utf8').digest();
      const mac = createHmac('sha512', Buffer.from(SECRET, 'base64')).update(ADD_ORDER).update(digest);
      expect(signer.sign(ADD_ORDER, '1', Buffer.from(body))).toBe(mac.digest('base64'));
    }
  });
});

describe('a secret', () => {
  it.each([SECRET, 'a2V5', 'YQ==', 'YWI=', '+/+/'])('in standard base64 is taken: %s', (text) => {
    expect(decodeSecret(text)).toEqual(Buffer.from(text, 'base64'));
    expect(() => createSigner(text)).not.toThrow();
  });

  it.each([
    ['empty', ''],
    ['not base64', 'what!is!this'],
    ['url-safe base64', SECRET.replaceAll('/', '_')],
    ['without its padding', SECRET.slice(0, -2)],
    ['cut off', SECRET.slice(0, -5)],
    ['with a line end', `${SECRET}\n`],
    ['with a blank inside', `${SECRET.slice(0, 40)} ${SECRET.slice(40)}`],
    ['with bits left over', 'YR=='],
    ['with text after the padding', 'YQ==YQ=='],
  ])('is refused when %s, and the message does not quote it', (_, text) => {
    expect(decodeSecret(text)).toBeUndefined();
    let message = '';
    try {
      createSigner(text);
    } catch (error) {
      message = (error as Error).message;
    }
    expect(message).toMatch(/^the secret is not base64/);
    if (text.length > 4) expect(message).not.toContain(text.slice(0, 8));
  });
});
