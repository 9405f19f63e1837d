import { parseBody, queryHasNonce } from '../../src/kraken/body.js';

const NONCE = 1795000000000000001n;
const N = String(NONCE);
const FORM = 'application/x-www-form-urlencoded';
const JSON_TYPE = 'application/json';

function completed(body: string, options?: { dropOtp?: boolean }, otp?: string): string {
  return parseBody(Buffer.from(body), undefined, options).complete(NONCE, otp).toString();
}

/** The reason a body is refused for; fails if it is taken. */
function refusal(body: string | Buffer, contentType?: string, options?: { dropOtp?: boolean }): string {
  let caught: unknown;
  try {
    parseBody(Buffer.from(body), contentType, options);
  } catch (error) {
    caught = error;
  }
  expect(caught).toMatchObject({ name: 'ProxyError', code: 'invalid-body' });
  return (caught as Error).message;
}

describe('a form', () => {
  it.each([
    ['that is empty becomes the nonce alone', '', `nonce=${N}`],
    ['with only a nonce becomes ours alone', 'nonce=1', `nonce=${N}`],
    ['gets the nonce in front', 'pair=XBTUSD&type=buy', `nonce=${N}&pair=XBTUSD&type=buy`],
    ['loses its own nonce in front', 'nonce=1&pair=XBTUSD', `nonce=${N}&pair=XBTUSD`],
    ['loses its own nonce in the middle', 'a=1&nonce=1&b=2', `nonce=${N}&a=1&b=2`],
    ['loses its own nonce at the end', 'a=1&b=2&nonce=1', `nonce=${N}&a=1&b=2`],
    ['loses every nonce', 'nonce=1&a=1&nonce=2&nonce=3&b=2&nonce=4', `nonce=${N}&a=1&b=2`],
    ['loses a nonce without a value', 'nonce&a=1&nonce=&b=2', `nonce=${N}&a=1&b=2`],
    ['loses a nonce with an = in its value', 'a=1&nonce=1=2', `nonce=${N}&a=1`],
    ['loses a percent-encoded nonce', '%6eonce=1&a=1&%6E%6F%6e%63%65=2', `nonce=${N}&a=1`],
    [
      'keeps unencoded brackets',
      'close[ordertype]=limit&close[nonce]=1',
      `nonce=${N}&close[ordertype]=limit&close[nonce]=1`,
    ],
    ['keeps %2B, + and %25', 'nonce=1&price=%2B5%25&starttm=+5', `nonce=${N}&price=%2B5%25&starttm=+5`],
    ['keeps empty fields', '&&a=1&&nonce=2&&', `nonce=${N}&&&a=1&&&`],
    ['keeps an empty field in front of a nonce', '&nonce=1', `nonce=${N}&`],
    ['keeps an empty field after a nonce', 'nonce=1&', `nonce=${N}&`],
    ['keeps repeated other fields in order', 'a=2&a=1&nonce=1&a=3', `nonce=${N}&a=2&a=1&a=3`],
    ['keeps a field without a name', '=1&nonce=2', `nonce=${N}&=1`],
    ['keeps a field without a value', 'validate&nonce=2', `nonce=${N}&validate`],
    ['keeps malformed percent-escapes', '%=1&%6=2&%zz=3&n%6=4&nonce=5', `nonce=${N}&%=1&%6=2&%zz=3&n%6=4`],
    ['keeps a name that is encoded twice', '%256eonce=1', `nonce=${N}&%256eonce=1`],
    [
      'keeps names that only contain nonce',
      'nonces=1&xnonce=2&non%2Fce=3',
      `nonce=${N}&nonces=1&xnonce=2&non%2Fce=3`,
    ],
    ['does not take ; for a separator', 'a=1;nonce=2&b=3', `nonce=${N}&a=1;nonce=2&b=3`],
    ['keeps a nonce inside a value', 'a={"nonce":1}&b=nonce', `nonce=${N}&a={"nonce":1}&b=nonce`],
    ['keeps a line end at its end', 'a=1\n', `nonce=${N}&a=1\n`],
    ['keeps other scripts', 'note=Zürich 東京 💶&nonce=1', `nonce=${N}&note=Zürich 東京 💶`],
    ['keeps an otp when the account has none', 'nonce=1&otp=123456', `nonce=${N}&otp=123456`],
    ['takes otp[] for no otp when the account has none', 'otp[]=1', `nonce=${N}&otp[]=1`],
  ])('%s', (_, body, expected) => {
    expect(completed(body)).toBe(expected);
  });

  it('loses every otp when the account has one of its own', () => {
    const body = 'otp=1&a=1&%6ftp=2&nonce=3&b=2&otp';
    expect(completed(body, { dropOtp: true }, '987654')).toBe(`nonce=${N}&otp=987654&a=1&b=2`);
  });

  it('gets an otp percent-encoded', () => {
    expect(completed('a=1', { dropOtp: true }, 'p&s=w ö+%')).toBe(
      `nonce=${N}&otp=p%26s%3Dw%20%C3%B6%2B%25&a=1`,
    );
  });
});

describe('a JSON object', () => {
  it.each([
    ['that is empty becomes the nonce alone', '{}', `{"nonce":"${N}"}`],
    ['that is blank keeps its blanks', ' { } \n', ` {"nonce":"${N}" } \n`],
    ['with only a nonce becomes ours alone', '{ "nonce" : "1" }', `{"nonce":"${N}"}`],
    ['gets the nonce in front, as a string', '{"a":1}', `{"nonce":"${N}","a":1}`],
    ['gets a string for a string', '{"nonce":"1","a":1}', `{"nonce":"${N}","a":1}`],
    ['gets a number for a number', '{"nonce":1,"a":1}', `{"nonce":${N},"a":1}`],
    ['gets a number for a negative one', '{"a":1,"nonce":-1.5e3}', `{"nonce":${N},"a":1}`],
    ['gets what its first nonce was', '{"nonce":1,"a":1,"nonce":"2"}', `{"nonce":${N},"a":1}`],
    ['gets a string for a nonce that is something else', '{"nonce":null,"a":1}', `{"nonce":"${N}","a":1}`],
    [
      'loses a nonce that is an object',
      '{"a":1,"nonce":{"nonce":[1,{}]},"b":2}',
      `{"nonce":"${N}","a":1,"b":2}`,
    ],
    ['loses its nonce in the middle', '{"a":1,"nonce":"1","b":2}', `{"nonce":"${N}","a":1,"b":2}`],
    [
      'loses its nonce at the end',
      '{"pair": "X", "orders": [1, 2], "nonce": "1"}',
      `{"nonce":"${N}","pair": "X", "orders": [1, 2]}`,
    ],
    [
      'loses every nonce',
      '{"nonce":1,"nonce":2,"a":1,"nonce":3,"b":2,"nonce":4}',
      `{"nonce":${N},"a":1,"b":2}`,
    ],
    [
      'loses an escaped nonce',
      '{"a":1,"\\u006eonce":1,"b":2,"\\u006E\\u006f\\u006Ece":3}',
      `{"nonce":${N},"a":1,"b":2}`,
    ],
    [
      'keeps nested nonces',
      '{"orders":[{"nonce":1}],"close":{"nonce":2},"nonce":3}',
      `{"nonce":${N},"orders":[{"nonce":1}],"close":{"nonce":2}}`,
    ],
    [
      'keeps strings that look like one',
      '{"a":"\\"nonce\\":1,","b":"nonce","nonce":"1"}',
      `{"nonce":"${N}","a":"\\"nonce\\":1,","b":"nonce"}`,
    ],
    [
      'keeps names that only contain nonce',
      '{"nonces":1,"xnonce":2,"no nce":3}',
      `{"nonce":"${N}","nonces":1,"xnonce":2,"no nce":3}`,
    ],
    [
      'keeps the blanks around and inside',
      '\r\n\t {\n  "a" : [ 1 ,\t2 ]\n , "nonce": 5}\n\n',
      `\r\n\t {"nonce":${N},\n  "a" : [ 1 ,\t2 ]\n }\n\n`,
    ],
    [
      'keeps long integers and exponents',
      '{"a":1795000000000000000001,"b":1E+400,"c":-0.0e-7,"nonce":"1"}',
      `{"nonce":"${N}","a":1795000000000000000001,"b":1E+400,"c":-0.0e-7}`,
    ],
    [
      'keeps __proto__ and repeated names',
      '{"__proto__":{"nonce":1},"a":1,"a":2}',
      `{"nonce":"${N}","__proto__":{"nonce":1},"a":1,"a":2}`,
    ],
    [
      'keeps escapes and lone surrogates',
      '{"a":"\\/\\b\\f\\n\\r\\t\\\\\\"\\ud800","\\udfff":"é💶"}',
      `{"nonce":"${N}","a":"\\/\\b\\f\\n\\r\\t\\\\\\"\\ud800","\\udfff":"é💶"}`,
    ],
    ['keeps an empty name', '{"":1,"nonce":1}', `{"nonce":${N},"":1}`],
    ['keeps an otp when the account has none', '{"otp":"1","nonce":"1"}', `{"nonce":"${N}","otp":"1"}`],
  ])('%s', (_, body, expected) => {
    expect(completed(body)).toBe(expected);
  });

  it('loses every otp when the account has one of its own', () => {
    const body = '{"otp":1,"a":1,"\\u006ftp":2,"nonce":3,"close":{"otp":4}}';
    expect(completed(body, { dropOtp: true }, '987654')).toBe(
      `{"nonce":${N},"otp":"987654","a":1,"close":{"otp":4}}`,
    );
  });

  it('does not take the type of its otp for that of its nonce', () => {
    expect(completed('{"otp":1,"nonce":"3"}', { dropOtp: true }, '9')).toBe(`{"nonce":"${N}","otp":"9"}`);
  });

  it('gets an otp escaped to ASCII', () => {
    const body = completed('{}', { dropOtp: true }, '"\\ö💶\u007f');
    expect(body).toBe(`{"nonce":"${N}","otp":"\\"\\\\\\u00f6\\ud83d\\udcb6\\u007f"}`);
    expect(JSON.parse(body)).toEqual({ nonce: N, otp: '"\\ö💶\u007f' });
  });

  it('may be nested 64 deep, not deeper', () => {
    const nested = (depth: number): string => '{"a":'.repeat(depth) + '1' + '}'.repeat(depth);
    const listed = (depth: number): string => '{"a":' + '['.repeat(depth - 1) + ']'.repeat(depth - 1) + '}';
    expect(completed(nested(64))).toBe(`{"nonce":"${N}",${nested(64).slice(1)}`);
    expect(completed(listed(64))).toBe(`{"nonce":"${N}",${listed(64).slice(1)}`);
    expect(refusal(nested(65))).toMatch(/nested deeper than 64 at byte 320$/);
    expect(refusal(listed(65))).toMatch(/nested deeper than 64/);
    expect(refusal('{"a":' + '['.repeat(1_000_000))).toMatch(/nested deeper than 64/);
  });
});

describe('fields of the proxy’s own', () => {
  const extra = [
    ['cl_ord_id', '6d1b345e-2821-40e2-ad83-4ecb18a06876'],
    ['deadline', '2026-11-22T20:00:05+00:00'],
  ] as const;

  it.each([
    ['a form', 'pair=XBTUSD', 'pair=XBTUSD'],
    ['a form that loses its nonce in front', 'nonce=1&pair=XBTUSD', 'pair=XBTUSD'],
    ['a form that loses its nonce behind', 'pair=XBTUSD&nonce=1', 'pair=XBTUSD'],
  ])('stand in front of %s, percent-encoded', (_, body, rest) => {
    expect(parseBody(Buffer.from(body), undefined).complete(NONCE, undefined, extra).toString()).toBe(
      `nonce=${N}&cl_ord_id=6d1b345e-2821-40e2-ad83-4ecb18a06876&deadline=2026-11-22T20%3A00%3A05%2B00%3A00&${rest}`,
    );
  });

  it('are all of an empty form', () => {
    const body = parseBody(Buffer.from(''), undefined).complete(NONCE, undefined, [['a', '1']]);
    expect(body.toString()).toBe(`nonce=${N}&a=1`);
  });

  it('stand in front of JSON, as strings', () => {
    const body = parseBody(Buffer.from('{ "nonce":1, "a": 1}'), undefined).complete(NONCE, undefined, extra);
    expect(body.toString()).toBe(
      `{"nonce":${N},"cl_ord_id":"6d1b345e-2821-40e2-ad83-4ecb18a06876","deadline":"2026-11-22T20:00:05+00:00", "a": 1}`,
    );
  });

  it('are all of an empty object', () => {
    const body = parseBody(Buffer.from('{}'), undefined).complete(NONCE, undefined, [['a', '"\\']]);
    expect(body.toString()).toBe(`{"nonce":"${N}","a":"\\"\\\\"}`);
  });

  it.each([
    ['a=1', `nonce=${N}&otp=9&b=2&a=1`],
    ['{"a":1}', `{"nonce":"${N}","otp":"9","b":"2","a":1}`],
  ])('come after the otp: %s', (body, expected) => {
    const template = parseBody(Buffer.from(body), undefined, { dropOtp: true });
    expect(template.complete(NONCE, '9', [['b', '2']]).toString()).toBe(expected);
    expect(template.complete(NONCE, '9', []).toString()).toBe(template.complete(NONCE, '9').toString());
  });
});

describe('a body is refused', () => {
  it.each([
    ['with a name long enough to cost time', `${'%20'.repeat(100)}nonce=1&a=1`, /longer than 256 bytes/],
    ['JSON with such a name', `{"${'\\u0020'.repeat(50)}nonce":1}`, /longer than 256 bytes/],
    ['with a crowd of nonces', 'nonce=1&'.repeat(17), /more than 16 fields/],
    ['a JSON array', '[1]', /not a JSON object/],
    ['a JSON array after blanks', ' \n[{"nonce":1}]', /not a JSON object/],
    ['a JSON string', '"nonce=1"', /not a JSON object/],
    ['a number', '42', /neither a form nor a JSON object/],
    ['a literal', 'true', /neither a form nor a JSON object/],
    ['plain text', 'nonce', /neither a form nor a JSON object/],
    ['blank', ' \r\n', /neither a form nor a JSON object/],
    ['fields without any =', 'a&b&&', /neither a form nor a JSON object/],
    ['marked with a byte order mark', '\ufeff{"a":1}', /byte order mark/],
    ['a form marked with a byte order mark', '\ufeffnonce=1', /byte order mark/],
    ['text after the object', '{"a":1}x', /not valid JSON at byte 7$/],
    ['two objects', '{} {}', /not valid JSON at byte 3$/],
    ['cut off', '{"a":1', /not valid JSON at byte 6$/],
    ['cut off in a string', '{"a":"1', /not valid JSON at byte 7$/],
    ['cut off in an escape', '{"a":"\\', /not valid JSON at byte 7$/],
    ['cut off after its start', '{', /not valid JSON at byte 1$/],
    ['closed by a comma', '{"a":1,}', /not valid JSON at byte 7$/],
    ['led by a comma', '{,"a":1}', /not valid JSON at byte 1$/],
    ['without a comma', '{"a":1 "b":2}', /not valid JSON at byte 7$/],
    ['without a colon', '{"a" 1}', /not valid JSON at byte 5$/],
    ['without a value', '{"a":}', /not valid JSON at byte 5$/],
    ['with a name that is no string', '{a:1}', /not valid JSON at byte 1$/],
    ['in single quotes', "{'a':1}", /not valid JSON at byte 1$/],
    ['with a list closed wrongly', '{"a":[1}}', /not valid JSON at byte 7$/],
    ['with a list that ends in a comma', '{"a":[1,]}', /not valid JSON at byte 8$/],
    ['with a leading zero', '{"a":01}', /not valid JSON at byte 6$/],
    ['with a leading plus', '{"a":+1}', /not valid JSON at byte 5$/],
    ['with a bare minus', '{"a":-}', /not valid JSON at byte 6$/],
    ['with a bare point', '{"a":1.}', /not valid JSON at byte 7$/],
    ['with a bare exponent', '{"a":1e+}', /not valid JSON at byte 8$/],
    ['with NaN', '{"a":NaN}', /not valid JSON at byte 5$/],
    ['with a cut-off literal', '{"a":nul}', /not valid JSON at byte 8$/],
    ['with a long literal', '{"a":truee}', /not valid JSON at byte 9$/],
    ['with a control character in a string', '{"a":"\n"}', /not valid JSON at byte 6$/],
    ['with a NUL between', '{"a":\0}', /not valid JSON at byte 5$/],
    ['with an unknown escape', '{"a":"\\x41"}', /not valid JSON at byte 7$/],
    ['with a bad unicode escape', '{"a":"\\u00g0"}', /not valid JSON at byte 10$/],
    ['with a comment', '{"a":1/**/}', /not valid JSON at byte 6$/],
    ['with a blank that JSON does not know', '{"a":\u00a01}', /not valid JSON at byte 5$/],
  ])('when it is %s', (_, body, reason) => {
    expect(refusal(body)).toMatch(reason);
  });

  it.each([
    'nonce[]=1',
    'nonce[0]=1',
    'nonce[=1',
    'nonce%5B%5D=1',
    ' nonce=1',
    '+nonce=1',
    '%20nonce=1',
    '%09nonce=1',
    '\nnonce=1',
    'nonce =1',
    'nonce+=1',
    'nonce%0D%0A=1',
    'nonce%00=1',
    'nonce%00x=1',
    'nonce\0=1',
    '%00nonce=1',
    ' nonce [0]=1',
    'Nonce=1',
    'NONCE=1',
    '%4Eonce=1',
    '\u00a0nonce=1',
    '%C2%A0nonce=1',
    'nonce%EF%BB%BF=1',
    'nonce[]',
  ])('when a form could be read as having another nonce: %j', (field) => {
    const reason = 'nonce in a place or spelling that Kraken may read differently';
    expect(refusal(`a=1&${field}`)).toBe(reason);
    expect(refusal(`${field}&nonce=1`)).toBe(reason);
  });

  it.each([
    'nonce ',
    '\\tnonce',
    'nonce\\u0000',
    'nonce[]',
    'Nonce',
    '\\u004eonce',
    '\\ufeffnonce',
    '\u00a0nonce',
    'nonce\\n',
  ])('when JSON could be read as having another nonce: %j', (name) => {
    const reason = 'nonce in a place or spelling that Kraken may read differently';
    expect(refusal(`{"a":1,"${name}":1}`)).toBe(reason);
    expect(refusal(`{"${name}":1,"nonce":2}`)).toBe(reason);
  });

  it.each(['otp[]=1&a=1', 'a=1&+otp=1', 'a=1&OTP=1', '{"otp ":1}', '{"a":1,"Otp":1}'])(
    'when it could be read as having another otp than the account’s: %j',
    (body) => {
      expect(refusal(body, undefined, { dropOtp: true })).toBe(
        'otp in a place or spelling that Kraken may read differently',
      );
      expect(completed(body)).toContain(N);
    },
  );

  it.each([
    [[0x61, 0x3d, 0xff]],
    [[0x61, 0x3d, 0xc3]],
    [[0x61, 0x3d, 0xc0, 0xae]],
    [[0x61, 0x3d, 0xed, 0xa0, 0x80]],
    [[...Buffer.from('{"a":"'), 0xe9, ...Buffer.from('"}')]],
  ])('when it is not UTF-8: %j', (bytes) => {
    expect(refusal(Buffer.from(bytes))).toMatch(/not valid UTF-8/);
  });

  it.each(['multipart/form-data; boundary=x', 'Multipart/Mixed', ' multipart/form-data'])(
    'when it is sent as %s',
    (contentType) => {
      expect(refusal('nonce=1', contentType)).toMatch(/multipart/);
    },
  );

  it('when JSON.parse refuses it, for every ASCII character in every place of a member', () => {
    const isJson = (text: string): boolean => {
      try {
        return typeof JSON.parse(text) === 'object';
      } catch {
        return false;
      }
    };
    const places = [
      '{?}',
      '{?"a":1}',
      '{"a"?:1}',
      '{"a":?1}',
      '{"a":?}',
      '{"a":1?}',
      '{"a":1.?1}',
      '{"a":1e?1}',
    ];
    const inside = [
      '{"a":"?"}',
      '{"a":"\\?"}',
      '{"a":"\\u00?0"}',
      '{"a":[?]}',
      '{"a":[1?]}',
      '{"a":-?}',
      '{}?',
    ];
    for (const place of [...places, ...inside]) {
      for (let code = 0; code < 128; code++) {
        const body = place.replace('?', () => String.fromCharCode(code));
        if (isJson(body)) expect(completed(body)).toContain(`"nonce":"${N}"`);
        else refusal(body);
      }
    }
  });

  it('with a reason that quotes nothing of it', () => {
    const bodies = [
      '{"otp":"s3cr3t" x',
      '{"otp ":"s3cr3t"}',
      'otp[]=s3cr3t',
      '["s3cr3t"]',
      's3cr3t',
      '{s3cr3t',
    ];
    for (const body of bodies) expect(refusal(body, undefined, { dropOtp: true })).not.toContain('s3cr3t');
  });
});

describe('the format and Content-Type', () => {
  it.each([
    ['a=1', undefined, 'form', FORM],
    ['', undefined, 'form', FORM],
    ['', JSON_TYPE, 'form', FORM],
    ['a=1', FORM, 'form', FORM],
    ['a=1', `${FORM}; charset=utf-8`, 'form', `${FORM}; charset=utf-8`],
    [
      'a=1',
      'Application/X-WWW-Form-Urlencoded;charset="UTF-8"',
      'form',
      'Application/X-WWW-Form-Urlencoded;charset="UTF-8"',
    ],
    ['a=1', `${FORM}; charset=ISO-8859-1`, 'form', `${FORM}; charset=ISO-8859-1`],
    ['a=1', `${FORM}; charset=utf-16`, 'form', FORM],
    ['a=1', `${FORM}x`, 'form', FORM],
    ['a=1', JSON_TYPE, 'form', FORM],
    ['a=1', 'text/plain', 'form', FORM],
    ['{}', undefined, 'json', JSON_TYPE],
    ['{}', FORM, 'json', JSON_TYPE],
    [' \n{}', JSON_TYPE, 'json', JSON_TYPE],
    ['{}', `${JSON_TYPE}; charset=utf-8`, 'json', `${JSON_TYPE}; charset=utf-8`],
    ['{}', `${JSON_TYPE}; charset=utf-16`, 'json', JSON_TYPE],
    ['{}', `${JSON_TYPE}-patch`, 'json', JSON_TYPE],
    ['{}', '', 'json', JSON_TYPE],
  ])('of %j sent as %j are %s and %s', (body, contentType, format, expected) => {
    expect(parseBody(Buffer.from(body), contentType)).toMatchObject({ format, contentType: expected });
  });
});

describe('a template', () => {
  it('can be completed again with the next nonce', () => {
    const template = parseBody(Buffer.from('a=1&nonce=1&b=2'), FORM);
    expect(template.complete(7n).toString()).toBe('nonce=7&a=1&b=2');
    expect(template.complete('8').toString()).toBe('nonce=8&a=1&b=2');
  });

  it('leaves the client’s bytes as they were', () => {
    for (const body of ['nonce=1&a=1&nonce=2&b=3', ' {"nonce":1,"a":1,"nonce":2,"b":3} ']) {
      const bytes = Buffer.from(body);
      const sent = parseBody(bytes, undefined).complete(NONCE);
      sent.fill(0);
      expect(bytes.toString()).toBe(body);
    }
  });

  it('takes a body of a mebibyte', () => {
    const form = `${'a=1&'.repeat(262_000)}nonce=1`;
    expect(completed(form)).toBe(`nonce=${N}&${form.slice(0, -8)}`);
    const json = `{"a":[${'{"x":"y"},'.repeat(100_000)}1],"nonce":"1"}`;
    expect(completed(json)).toBe(`{"nonce":"${N}",${json.slice(1, -13)}}`);
  });
});

describe('the client’s own nonce', () => {
  it.each([
    ['nonce=17&pair=XBTUSD', '17'],
    ['pair=XBTUSD&nonce=1795356896833004847', '1795356896833004847'],
    ['pair=XBTUSD&nonce=0017%2b&type=buy', '0017+'],
    ['pair=XBTUSD&%6eonce=5', '5'],
    ['nonce=&pair=XBTUSD', ''],
    ['nonce&pair=XBTUSD', ''],
    ['{"nonce":1795356896833004847,"pair":"XBTUSD"}', '1795356896833004847'],
    ['{"pair":"XBTUSD", "nonce" : "1795356896833004847" }', '1795356896833004847'],
    ['{"nonce":"1\\u0037"}', '17'],
  ])('is told as it was written: %s', (body, nonce) => {
    expect(parseBody(Buffer.from(body), undefined).clientNonce()).toBe(nonce);
  });

  it.each([
    'pair=XBTUSD',
    '',
    'nonce=1&nonce=1',
    'nonce=1&pair=XBTUSD&%6eonce=2',
    '{"nonce":1,"nonce":1}',
    '{"pair":"XBTUSD","orders":[{"nonce":1}]}',
    '{"nonce":null}',
    '{"nonce":[1]}',
  ])('is not guessed where there is none, or more than one: %j', (body) => {
    expect(parseBody(Buffer.from(body), undefined).clientNonce()).toBeUndefined();
  });
});

describe('a query', () => {
  it.each([
    'nonce=1',
    '?nonce=1',
    'a=1&nonce',
    '%6eonce=1',
    'a=1&nonce[]=1',
    '+nonce=1',
    'Nonce=1',
    'a&otp=1',
    'o%74p',
    '%C2%A0nonce=1',
    // Node gives a request target's bytes as Latin-1.
    '\u00c2\u00a0nonce=1',
  ])('with a nonce or otp is seen: %j', (query) => {
    expect(queryHasNonce(query)).toBe(true);
  });

  it.each([
    '',
    '?',
    'id=TGWOJ4JQPOTZT2',
    'a=nonce',
    'nonces=1&notp=2',
    'a=1;nonce=2',
    '%zz&%',
    '?a[nonce]=1',
    'ö=1',
  ])('without one is not: %j', (query) => {
    expect(queryHasNonce(query)).toBe(false);
  });
});
