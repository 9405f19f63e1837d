/** Preloaded with `node --require`: this process believes that it is CLOCK_AHEAD_MS later than it is. */
const aheadMs = Number(process.env.CLOCK_AHEAD_MS);
const RealDate = Date;
globalThis.Date = class Date extends RealDate {
  constructor(...parts) {
    if (parts.length === 0) super(RealDate.now() + aheadMs);
    else super(...parts);
  }
  static now() {
    return RealDate.now() + aheadMs;
  }
};
Object.defineProperty(performance, 'timeOrigin', { value: performance.timeOrigin + aheadMs });
