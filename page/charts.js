// @ts-check
import uPlot from './uplot.js';
import { byId, element, setText } from './dom.js';
import { milliseconds, moment, short } from './words.js';
/** @import { History, Series } from './model.js' */

/**
 * @typedef {object} Line
 * @property {string} name
 * @property {(history: History) => Series} of
 * @property {'accent' | 'second' | 'bad'} color
 * @property {boolean} [isFilled]
 */

/**
 * @typedef {object} ChartSpec
 * @property {string} title
 * @property {(value: number) => string} words
 * @property {boolean} [isCount] half a call is no mark on its axis
 * @property {Line[]} lines
 */

/** @type {readonly ChartSpec[]} */
const CHARTS = [
  {
    title: 'Calls a second',
    words: (value) => `${short(value)}/s`,
    isCount: true,
    lines: [{ name: 'Calls', of: ({ calls }) => calls, color: 'accent', isFilled: true }],
  },
  {
    title: 'Errors a second',
    words: (value) => `${short(value)}/s`,
    isCount: true,
    lines: [{ name: 'Errors', of: ({ errors }) => errors, color: 'bad', isFilled: true }],
  },
  {
    title: 'Wait in the lane',
    words: milliseconds,
    lines: [
      { name: 'Highest', of: ({ waitMaxMs }) => waitMaxMs, color: 'second' },
      { name: 'Mean', of: ({ waitMs }) => waitMs, color: 'accent', isFilled: true },
    ],
  },
  {
    title: "Kraken's time",
    words: milliseconds,
    lines: [
      { name: 'Highest', of: ({ upstreamMaxMs }) => upstreamMaxMs, color: 'second' },
      { name: 'Mean', of: ({ upstreamMs }) => upstreamMs, color: 'accent', isFilled: true },
    ],
  },
];
const HEIGHT = 132;
/** Of a proxy that has just started no less is shown: a line needs some width to be one. */
const LEAST_SECONDS = 300;
/** Marks of the time axis. */
const TIME_MARKS = [60, 120, 300, 600, 900, 1_800];
const COUNT_MARKS = [1, 2, 5]
  .flatMap((first) => [0, 1, 2, 3, 4, 5, 6].map((power) => first * 10 ** power))
  .sort((a, b) => a - b);
const CLOCK = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });

/**
 * The last hour, four charts with one cursor. A chart is drawn when it is in sight and its line has become longer by
 * half a pixel: at most once a second, and not all in the same one.
 */
export class ChartsView {
  /** @type {Chart[]} */
  #charts;
  /** @type {Map<Element, Chart>} */
  #byElement = new Map();

  constructor() {
    const list = byId('chart-list');
    this.#charts = CHARTS.map((spec, index) => new Chart(spec, index));
    for (const chart of this.#charts) {
      this.#byElement.set(chart.root, chart);
      list.append(chart.root);
    }
    const sight = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) this.#byElement.get(target)?.see(isIntersecting);
    });
    const sizes = new ResizeObserver((entries) => {
      for (const { target } of entries) this.#byElement.get(target)?.resize();
    });
    for (const { root } of this.#charts) {
      sight.observe(root);
      sizes.observe(root);
    }
  }

  /**
   * @param {History} history
   * @param {number} startedAt of the proxy, unix seconds: there is nothing to see before
   */
  render(history, startedAt) {
    for (const chart of this.#charts) chart.render(history, startedAt);
  }

  /** Colors are others now. */
  recolor() {
    for (const chart of this.#charts) chart.recolor();
  }
}

class Chart {
  #spec;
  /** Puts its drawing into another second than the others'. */
  #turn;
  /** @type {uPlot | undefined} */
  #plot;
  /** @type {History | undefined} */
  #history;
  #startedAt = 0;
  /** Unix seconds, of the newest second and of the first that the drawing shows. */
  #drawn = { at: 0, from: 0 };
  #isSeen = true;
  #box = element('div', { class: 'plot', 'aria-hidden': 'true' });
  #summary = element('figcaption', { class: 'muted' });
  #time = element('span', { class: 'muted' });
  /** @type {HTMLElement[]} */
  #values = [];
  /** @type {Record<Line['color'] | 'grid' | 'text', string>} */
  #colors;

  /**
   * @param {ChartSpec} spec
   * @param {number} turn
   */
  constructor(spec, turn) {
    this.#spec = spec;
    this.#turn = turn;
    this.#colors = readColors();
    const legend = element('p', { class: 'legend', 'aria-hidden': 'true' }, this.#time);
    for (const { name, color } of spec.lines) {
      const value = element('b');
      this.#values.push(value);
      const key = element('span', { class: 'key', 'data-color': color });
      legend.append(element('span', {}, key, spec.lines.length === 1 ? '' : `${name} `, value));
    }
    const head = element('div', { class: 'chart-head' }, element('h3', {}, spec.title), legend);
    this.root = element('figure', { class: 'card chart' }, head, this.#box, this.#summary);
  }

  /**
   * @param {History} history
   * @param {number} startedAt unix seconds
   */
  render(history, startedAt) {
    this.#history = history;
    this.#startedAt = startedAt;
    const newest = history.at.at(-1);
    if (newest === undefined) return;
    setText(this.#summary, this.#summaryOf(history));
    if (this.#plot === undefined || (this.#isSeen && this.#isDue(newest))) this.#draw(history, newest);
    this.#tell(this.#plot?.cursor.idx);
  }

  /** @param {number} newest unix seconds */
  #isDue(newest) {
    const { at, from } = this.#drawn;
    if (newest < at) return true;
    const every = Math.max(1, Math.round((at - from) / this.#box.clientWidth / 2) || 1);
    return newest - at >= every && (newest + this.#turn) % every === 0;
  }

  /**
   * @param {History} history
   * @param {number} newest unix seconds
   */
  #draw(history, newest) {
    const first = Math.max(history.at[0] ?? newest, this.#startedAt);
    this.#drawn = { at: newest, from: Math.min(first, newest - LEAST_SECONDS) };
    const data = /** @type {uPlot.AlignedData} */ ([
      history.at,
      ...this.#spec.lines.map(({ of }) => of(history)),
    ]);
    if (this.#plot === undefined) this.#plot = new uPlot(this.#options(), data, this.#box);
    else this.#plot.setData(data);
  }

  /** @param {boolean} isSeen */
  see(isSeen) {
    this.#isSeen = isSeen;
    const newest = this.#history?.at.at(-1);
    if (!isSeen || this.#history === undefined || newest === undefined) return;
    if (newest !== this.#drawn.at) this.#draw(this.#history, newest);
  }

  resize() {
    const width = this.#box.clientWidth;
    if (this.#plot !== undefined && width > 0 && width !== this.#plot.width) {
      this.#plot.setSize({ width, height: HEIGHT });
    }
  }

  recolor() {
    this.#colors = readColors();
    this.#plot?.redraw(false, true);
  }

  /** @returns {uPlot.Options} */
  #options() {
    const { lines, isCount = false } = this.#spec;
    const axis = {
      stroke: () => this.#colors.text,
      grid: { stroke: () => this.#colors.grid, width: 1 },
      ticks: { show: false },
      font: '11px system-ui, sans-serif',
    };
    return {
      width: this.#box.clientWidth || 300,
      height: HEIGHT,
      padding: [6, 16, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: 'hour' }, drag: { x: false, y: false }, y: false, points: { size: 6 } },
      hooks: { setCursor: [({ cursor }) => this.#tell(cursor.idx)] },
      scales: {
        x: { range: () => [this.#drawn.from, this.#drawn.at] },
        y: { range: (_plot, _low, high) => [0, Math.max(1, (high || 0) * 1.1)] },
      },
      axes: [
        {
          ...axis,
          size: 22,
          gap: 4,
          space: 60,
          incrs: TIME_MARKS,
          values: (_plot, splits) => splits.map((at) => CLOCK.format(at * 1_000)),
        },
        {
          ...axis,
          size: 54,
          gap: 6,
          space: 22,
          ...(isCount && { incrs: COUNT_MARKS }),
          values: (_plot, splits) => splits.map((value) => axisText(value, isCount)),
        },
      ],
      series: [
        {},
        ...lines.map(({ name, color, isFilled }) => ({
          label: name,
          width: isFilled === true ? 1.5 : 1,
          stroke: () => this.#colors[color],
          ...(isFilled === true && { fill: () => withAlpha(this.#colors[color]) }),
          // A second with a time between two without one has no line: it is a dot.
          points: { show: false, filter: alone, size: 3, width: 0, fill: () => this.#colors[color] },
        })),
      ],
    };
  }

  /**
   * The values under the cursor, else the newest.
   * @param {number | null | undefined} index
   */
  #tell(index) {
    const history = this.#history;
    if (history === undefined) return;
    const at = index ?? history.at.length - 1;
    const time = history.at[at];
    setText(
      this.#time,
      index === null || index === undefined || time === undefined ? 'now' : moment(time * 1_000),
    );
    this.#spec.lines.forEach(({ of }, line) => {
      const value = of(history)[at];
      const target = this.#values[line];
      if (target !== undefined)
        setText(target, value === null || value === undefined ? '–' : this.#spec.words(value));
    });
  }

  /**
   * The chart in words, for those who do not see it; of use to the others too.
   * @param {History} history
   */
  #summaryOf(history) {
    const { lines, words } = this.#spec;
    // The seconds before the start had no calls because there was no proxy: they are no part of a mean.
    const since = Math.max(0, Math.min(this.#startedAt - (history.at[0] ?? 0), history.at.length - 1));
    const long = since === 0 ? 'hour' : 'since the start';
    const mean = (lines.find(({ isFilled }) => isFilled) ?? lines[0])?.of(history) ?? [];
    const highest = lines[0]?.of(history) ?? [];
    const minute = meanOf(mean.slice(Math.max(since, mean.length - 60)));
    const hour = meanOf(mean.slice(since));
    if (hour === undefined)
      return `Nothing measured ${since === 0 ? 'in the last hour' : 'since the start'}.`;
    const peak = peakOf(highest);
    const peakAt = history.at[peak.index];
    const when = peak.value > 0 && peakAt !== undefined ? ` at ${moment(peakAt * 1_000)}` : '';
    const now = minute === undefined ? 'no calls in the last minute' : `last minute ${words(minute)}`;
    return `Mean: ${now}, ${long} ${words(hour)}. Highest ${words(peak.value)}${when}.`;
  }
}

/** @param {Series} series */
function meanOf(series) {
  let sum = 0;
  let count = 0;
  for (const value of series) {
    if (value === null) continue;
    sum += value;
    count++;
  }
  return count === 0 ? undefined : sum / count;
}

/** @param {Series} series */
function peakOf(series) {
  let value = 0;
  let index = 0;
  series.forEach((each, at) => {
    if (each !== null && each > value) [value, index] = [each, at];
  });
  return { value, index };
}

/**
 * @param {number} value
 * @param {boolean} isCount otherwise it is milliseconds
 */
function axisText(value, isCount) {
  if (value === 0 || isCount) return short(value);
  return value < 1_000 ? `${short(value)} ms` : `${short(value / 1_000)} s`;
}

/**
 * The values of a series that have no neighbor.
 * @param {uPlot} plot
 * @param {number} line
 */
function alone(plot, line) {
  const values = plot.data[line] ?? [];
  /** @type {number[]} */
  const found = [];
  for (let at = 0; at < values.length; at++) {
    if (values[at] != null && values[at - 1] == null && values[at + 1] == null) found.push(at);
  }
  return found;
}

/** The theme's colors as the canvas needs them: resolved. */
function readColors() {
  const probe = element('span', { hidden: true });
  document.body.append(probe);
  /** @param {string} name */
  const read = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const colors = {
    accent: read('accent'),
    second: read('second'),
    bad: read('bad'),
    grid: read('line'),
    text: read('muted'),
  };
  probe.remove();
  return colors;
}

/** @param {string} color `rgb(…)`, as computed */
function withAlpha(color) {
  return color.replace(/^rgb\((.*)\)$/, 'rgba($1, 0.14)');
}
