/**
 * A call had drawn its nonce with the old key when the config was reloaded with another one, and ended after that. The
 * journal told only when an account got its key, so `journal verify` took the old key's nonce for the new key's and
 * called a sound journal damaged. Each line names the key that signed.
 */
import { checkJournal } from '../../src/journal/journal-check.js';
import { callRecord, JournalWorld } from '../support/journal-world.js';

let world: JournalWorld;
beforeEach(() => (world = new JournalWorld()));
afterEach(async () => {
  await world.close();
});

it('a nonce that the old key drew after the new one was in force is the old key’s', async () => {
  const journal = await world.open({ keys: { master: 'old' } });
  const call = (draw: number, nonce: number, key: string): void =>
    journal.call(callRecord(draw, { key, sends: [{ draw, nonce: String(nonce) }] }));
  call(1, 9_001, 'old'); // its nonces ran ahead, after a jump
  journal.newKeys({ master: 'new' }, 1);
  call(2, 9_002, 'old'); // had its turn, and was signed, while the config was read
  call(3, 103, 'new');
  await journal.close();
  expect(await checkJournal(world.file)).toMatchObject({ damages: [], nonces: 3, keys: 2 });
});
