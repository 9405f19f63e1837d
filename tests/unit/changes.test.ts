import { changesBetween } from '../../src/config/changes.js';
import { Secret } from '../../src/secret.js';

it('equal configs have no changes, whatever their objects', () => {
  const config = (): object => ({
    a: { b: [1, 2] },
    clients: [{ name: 'x', nonceWindow: 5n, secret: new Secret('s') }],
  });
  expect(changesBetween(config(), config())).toEqual([]);
});

it.each([
  [{ a: { b: 1 } }, { a: { b: 2 } }, ['a.b']],
  [{ a: { b: 1 } }, { a: { c: 1 } }, ['a.b', 'a.c']],
  [{ a: undefined }, { a: { b: 1 } }, ['a']],
  [{ list: ['x'] }, { list: ['x', 'y'] }, ['list']],
  [{ list: [] }, { list: [{ name: 'x' }] }, ['list']],
  [{ of: [{ name: 'x', n: 1 }] }, { of: [{ name: 'x', n: 2 }, { name: 'y' }] }, ['of.x.n', 'of.y']],
  [{ of: [{ name: 'x', w: 1n }] }, { of: [{ name: 'x', w: 2n }] }, ['of.x.w']],
  [{ secret: new Secret('one') }, { secret: new Secret('two') }, ['secret']],
  [{ secret: new Secret('one') }, { secret: undefined }, ['secret']],
])('tells where two configs differ (%#)', (before, after, changes) => {
  expect(changesBetween(before, after)).toEqual(changes);
});
