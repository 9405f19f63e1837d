/**
 * How many cases a costly property tries. `PROPERTY_RUNS=10 npm test` tries ten times as many in all of these: the long
 * form, for a change to what they prove. The seed is another one each time, so that runs add up.
 */
export function propertyRuns(count: number): number {
  const factor = Number(process.env.PROPERTY_RUNS ?? 1);
  if (!(factor > 0)) throw new Error(`PROPERTY_RUNS is no factor: ${process.env.PROPERTY_RUNS ?? ''}`);
  return Math.ceil(count * factor);
}
