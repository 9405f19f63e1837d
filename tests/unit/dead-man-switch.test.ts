import { jest } from '@jest/globals';
import { DeadManSwitch } from '../../src/orders/dead-man-switch.js';

let struck: string[];
let dms: DeadManSwitch;
beforeEach(() => {
  jest.useFakeTimers();
  struck = [];
  dms = new DeadManSwitch({ onStruck: (account) => struck.push(account) });
});
afterEach(() => {
  dms.close();
  jest.useRealTimers();
});

/** What Kraken is sent when a client asks for so much, and took it. */
function arm(client: string, seconds: number, account = 'master'): number {
  const arming = dms.ask(account, client, seconds);
  arming.commit();
  return arming.seconds;
}

describe('what is sent', () => {
  it('is what the only client asks for', () => {
    expect(arm('one', 60)).toBe(60);
    expect(arm('one', 15)).toBe(15);
    expect(arm('one', 0)).toBe(0);
  });

  it('is the shortest of all times that are left', () => {
    arm('one', 60);
    expect(arm('two', 90)).toBe(60);
    expect(arm('three', 30)).toBe(30);
    jest.advanceTimersByTime(10_000);
    expect(arm('two', 90)).toBe(20);
  });

  it('is rounded up to whole seconds', () => {
    arm('one', 60);
    jest.advanceTimersByTime(10_001);
    expect(arm('two', 60)).toBe(50);
    jest.advanceTimersByTime(998);
    expect(dms.remaining('master')).toBe(50);
  });

  it('is what the others have left when one takes its own back', () => {
    arm('one', 60);
    arm('two', 30);
    expect(arm('two', 0)).toBe(60);
    expect(arm('one', 0)).toBe(0);
    expect(dms.remaining('master')).toBeUndefined();
  });

  it('may be longer than before for a client that renews its own', () => {
    arm('one', 10);
    expect(arm('one', 60)).toBe(60);
  });

  it('does not mix accounts', () => {
    arm('one', 10);
    expect(arm('one', 60, 'alice')).toBe(60);
    expect(arm('two', 0, 'alice')).toBe(60);
  });

  it('counts a client whose time is up with the least there is', () => {
    arm('one', 5);
    jest.advanceTimersByTime(5_100);
    expect(arm('two', 60)).toBe(1);
  });
});

it('a time that Kraken did not take counts for nobody', () => {
  dms.ask('master', 'one', 5);
  expect(arm('two', 60)).toBe(60);
  arm('two', 60);
  dms.ask('master', 'two', 0);
  expect(dms.remaining('master')).toBe(60);
});

describe('after Kraken’s timer has struck', () => {
  it('it is to be armed again for those who are left, and only for them', () => {
    arm('two', 60);
    arm('one', 5);
    jest.advanceTimersByTime(5_000);
    expect(struck).toEqual([]);
    jest.advanceTimersByTime(500);
    expect(struck).toEqual(['master']);
    expect(dms.remaining('master')).toBe(55);
  });

  it('nothing is to be done when nobody is left', () => {
    arm('one', 5);
    jest.advanceTimersByTime(60_000);
    expect(struck).toEqual([]);
    expect(dms.remaining('master')).toBeUndefined();
    expect(arm('two', 60)).toBe(60);
  });

  it('and was armed again, it strikes for the next one', () => {
    arm('three', 60);
    arm('two', 20);
    arm('one', 5);
    jest.advanceTimersByTime(5_500);
    dms.armed('master', dms.remaining('master') ?? 0);
    expect(dms.remaining('master')).toBe(15);
    jest.advanceTimersByTime(15_500);
    expect(struck).toEqual(['master', 'master']);
    expect(dms.remaining('master')).toBe(39);
  });

  it('it has not struck for one that renewed its time', () => {
    arm('one', 5);
    jest.advanceTimersByTime(4_000);
    arm('one', 5);
    jest.advanceTimersByTime(4_000);
    expect(dms.remaining('master')).toBe(1);
    arm('one', 0);
    jest.advanceTimersByTime(60_000);
    expect(struck).toEqual([]);
  });
});

describe('a strike that is due', () => {
  it('is waited for by everybody but the one whose time is up', () => {
    arm('one', 5);
    jest.advanceTimersByTime(4_500);
    arm('two', 60); // Kraken’s timer starts anew, with one second
    expect(dms.strikeMs('master', 'two')).toBe(0);
    jest.advanceTimersByTime(600);
    expect(dms.strikeMs('master', 'two')).toBe(900);
    expect(dms.strikeMs('master', 'one')).toBe(0);
    expect(dms.strikeMs('alice', 'two')).toBe(0);
    jest.advanceTimersByTime(900);
    expect(dms.strikeMs('master', 'two')).toBe(0);
    expect(struck).toEqual(['master']);
  });
});

it('nothing strikes once it is closed', () => {
  arm('two', 60);
  arm('one', 5);
  dms.close();
  jest.advanceTimersByTime(60_000);
  expect(struck).toEqual([]);
});
