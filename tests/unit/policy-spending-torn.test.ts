import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseDecimal, ZERO } from '../../src/policy/decimal.js';
import { Spending } from '../../src/policy/spending.js';

const one = parseDecimal('1') ?? ZERO;

it('a line that a full disk cut off is not continued by the next one', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'spending-'));
  const file = join(folder, 'spending.jsonl');
  const spending = await Spending.open(file);
  await spending.reserve('bot', 'USD', one, undefined)?.written;

  const probe = await open(file);
  const handles = Object.getPrototypeOf(probe) as FileHandle;
  await probe.close();
  const healthy: unknown = Reflect.get(handles, 'appendFile');
  handles.appendFile = async function (this: FileHandle, data): Promise<void> {
    Reflect.set(handles, 'appendFile', healthy);
    await this.appendFile((data as Buffer).subarray(0, 20));
    throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
  };
  const broken = spending.reserve('bot', 'USD', one, undefined);
  await expect(broken?.written).rejects.toThrow('no space left');
  expect(readFileSync(file, 'utf8')).not.toMatch(/\n$/);
  expect(spending.spent('bot', 'USD').toFixed()).toBe('1');

  await spending.reserve('bot', 'USD', one, undefined)?.written;
  await spending.close();
  const next = await Spending.open(file);
  expect(next.spent('bot', 'USD').toFixed()).toBe('2');
  await next.close();
  rmSync(folder, { recursive: true });
});
