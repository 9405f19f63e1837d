/**
 * An object that shows at any time what `read` gives at that time. A part that keeps it as its options, and reads them as
 * it needs them, is reached by a reload. The names are those of the first reading.
 */
export function liveView<T extends object>(read: () => T): T {
  const view = {};
  for (const name of Object.keys(read()) as (keyof T)[])
    Object.defineProperty(view, name, { enumerable: true, get: () => read()[name] });
  return view as T;
}
