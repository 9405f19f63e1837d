import { until } from './until.js';

type Line = Readonly<Record<string, unknown>>;

/**
 * The canonical log lines with these fields, once there are `count` of them: a line is written when its
 * answer is already out. A line too many is found as well, because all are given.
 */
export async function callLines(log: readonly Line[], fields: Line, count = 1): Promise<readonly Line[]> {
  const found = (): readonly Line[] =>
    log.filter(
      (line) => line.msg === 'call' && Object.entries(fields).every(([name, value]) => line[name] === value),
    );
  await until(() => found().length >= count);
  await new Promise((resolve) => setImmediate(resolve));
  return found();
}
