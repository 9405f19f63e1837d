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
 * @property {Line[]} lines
 */

/** @type {readonly ChartSpec[]} */
const CHARTS = [
  {
    title: 'Calls a second',
    words: (value) => `${short(value)}/s`,
    lines: [{ name: 'Calls', of: ({ calls }) => calls, color: 'accent', isFilled: true }],
  },
  {
    title: 'Errors a second',
    words: (value) => `${short(value)}/s`,
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
const HEIGHT = 128;
const CLOCK = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });

/** The last hour, four charts with one cursor. Only charts in sight are drawn, at most once a second. */
export class ChartsView {
  /** @type {Chart[]} */
  #charts;
  /** @type {Map<Element, Chart>} */
  #byElement = new Map();

  constructor() {
    const list = byId('chart-list');
    this.#charts = CHARTS.map((spec) => new Chart(spec));
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

  /** @param {History} history */
  render(history) {
    for (const chart of this.#charts) chart.render(history);
  }

  /** Colors are others now. */
  recolor() {
    for (const chart of this.#charts) chart.recolor();
  }
}

class Chart {
  #spec;
  /** @type {uPlot | undefined} */
  #plot;
  /** @type {History | undefined} */
  #history;
  #isSeen = true;
  #box = element('div', { class: 'plot', 'aria-hidden': 'true' });
  #summary = element('figcaption', { class: 'muted' });
  #time = element('span', { class: 'muted' });
  /** @type {HTMLElement[]} */
  #values = [];
  /** @type {Record<Line['color'] | 'grid' | 'text', string>} */
  #colors;

  /** @param {ChartSpec} spec */
  constructor(spec) {
    this.#spec = spec;
    this.#colors = readColors();
    const legend = element('p', { class: 'legend', 'aria-hidden': 'true' }, this.#time);
    for (const { name, color } of spec.lines) {
      const value = element('b');
      this.#values.push(value);
      const key = element('span', { class: 'key', 'data-color': color });
      if (spec.lines.length === 1) legend.append(value);
      else legend.append(element('span', {}, key, `${name} `, value));
    }
    const head = element('div', { class: 'chart-head' }, element('h3', {}, spec.title), legend);
    this.root = element('figure', { class: 'card chart' }, head, this.#box, this.#summary);
  }

  /** @param {History} history */
  render(history) {
    this.#history = history;
    if (history.at.length === 0) return;
    setText(this.#summary, this.#summaryOf(history));
    if (this.#plot !== undefined && !this.#isSeen) return;
    const data = /** @type {uPlot.AlignedData} */ ([
      history.at,
      ...this.#spec.lines.map(({ of }) => of(history)),
    ]);
    if (this.#plot === undefined) this.#plot = new uPlot(this.#options(), data, this.#box);
    else this.#plot.setData(data);
    this.#tell(this.#plot.cursor.idx);
  }

  /** @param {boolean} isSeen */
  see(isSeen) {
    this.#isSeen = isSeen;
    if (isSeen && this.#history !== undefined) this.render(this.#history);
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
      scales: { y: { range: (_plot, _low, high) => [0, Math.max(1, (high || 0) * 1.1)] } },
      axes: [
        {
          ...axis,
          size: 22,
          gap: 4,
          space: 60,
          incrs: [300, 600, 900, 1_800],
          values: (_plot, splits) => splits.map((at) => CLOCK.format(at * 1_000)),
        },
        { ...axis, size: 46, gap: 4, space: 32, values: (_plot, splits) => splits.map(axisText) },
      ],
      series: [
        {},
        ...this.#spec.lines.map(({ name, color, isFilled }) => ({
          label: name,
          width: isFilled === true ? 1.5 : 1,
          stroke: () => this.#colors[color],
          ...(isFilled === true && { fill: () => withAlpha(this.#colors[color]) }),
          points: { show: false },
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
    const mean = (lines.find(({ isFilled }) => isFilled) ?? lines[0])?.of(history) ?? [];
    const highest = lines[0]?.of(history) ?? [];
    const minute = meanOf(mean.slice(-60));
    const hour = meanOf(mean);
    if (hour === undefined) return 'No calls in the last hour.';
    const peak = peakOf(highest);
    const peakAt = history.at[peak.index];
    const when = peak.value > 0 && peakAt !== undefined ? ` at ${moment(peakAt * 1_000)}` : '';
    const now = minute === undefined ? 'no calls in the last minute' : `last minute ${words(minute)}`;
    return `Mean: ${now}, hour ${words(hour)}. Highest ${words(peak.value)}${when}.`;
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

/** @param {number} value */
function axisText(value) {
  return value >= 1_000 ? `${short(value / 1_000)}k` : short(value);
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
