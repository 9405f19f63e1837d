import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseConfig } from '../../src/config.js';
import { createMetrics } from '../../src/metrics.js';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DEPLOY = join(ROOT, 'deploy');
const read = (...path: string[]): string => readFileSync(join(DEPLOY, ...path), 'utf8');

interface GridPos {
  readonly h: number;
  readonly w: number;
  readonly x: number;
  readonly y: number;
}
interface Panel {
  readonly id: number;
  readonly title: string;
  readonly type: string;
  readonly gridPos: GridPos;
  readonly datasource?: { readonly uid: string };
  readonly targets?: readonly {
    readonly expr: string;
    readonly refId: string;
    readonly datasource: { readonly uid: string };
  }[];
}
interface Variable {
  readonly name: string;
  readonly type: string;
  readonly query: string | { readonly query: string };
}
interface Dashboard {
  readonly uid: string;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly Variable[] };
}

const dashboardText = read('grafana', 'kraken-signing-proxy.json');
const dashboard = JSON.parse(dashboardText) as Dashboard;
const rulesText = read('prometheus', 'alerts.yml');

/** One alert rule, as its block of lines. */
interface Rule {
  readonly name: string;
  readonly text: string;
  readonly expr: string;
}

const rules: readonly Rule[] = rulesText
  .split(/^ {6}- alert: /m)
  .slice(1)
  .map((text) => {
    const [, inline, block] = /^ {8}expr: (?:(?!\|)(.*)|\|-?\n((?: {10}.*\n)+))/m.exec(text) ?? [];
    return { name: text.split('\n')[0] ?? '', text, expr: inline ?? block ?? '' };
  });

const expressions: readonly (readonly [where: string, expr: string])[] = [
  ...rules.map(({ name, expr }) => [`alert ${name}`, expr] as const),
  ...dashboard.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => [`panel ${title}`, expr] as const),
  ),
  ...dashboard.templating.list
    .filter(({ type }) => type === 'query')
    .map(({ name, query }) => [`variable ${name}`, typeof query === 'string' ? query : query.query] as const),
];

/** What stands in an expression besides metrics: texts, label matchers, durations, groupings, and then functions. */
const AROUND =
  /"(?:[^"\\]|\\.)*"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|on|without|ignoring)\s*\([^)]*\)|\boffset\s+\w+|\b(?:or|and|unless)\b/g;
const FUNCTIONS = /\b[a-z_0-9]+\s*(?=\()/g;

/** The names of metrics in a PromQL expression; `label_values(metric, label)` is Grafana's. */
function metricsIn(expr: string): string[] {
  const question = expr.replace(/^label_values\(([a-z_]+).*\)$/s, '$1');
  const plain = question.replaceAll(AROUND, ' ').replaceAll(FUNCTIONS, ' ');
  return [...plain.matchAll(/\b[a-zA-Z_]\w*\b/g)].map(([name]) => name);
}

/** Prometheus makes these itself. */
const OF_PROMETHEUS = new Set(['up', 'ALERTS']);

/** Every series a scrape brings: metrics, and those parts of histograms that exist. */
async function realSeries(): Promise<Set<string>> {
  const text = await createMetrics({ version: '0', tuning: { lanes: 'global' } }).text();
  const types = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)];
  return new Set(
    types.flatMap(([, name = '', type]) =>
      type === 'histogram' ? ['_bucket', '_sum', '_count'].map((end) => name + end) : [name],
    ),
  );
}

describe('metrics and what looks at them', () => {
  it('the expressions were found', () => {
    expect(rules.length).toBeGreaterThan(20);
    expect(rules.filter(({ expr }) => expr.trim() === '')).toEqual([]);
    expect(rulesText.match(/^\s*expr:/gm)).toHaveLength(rules.length);
    expect(expressions.length).toBeGreaterThan(60);
    const expr = 'count by (le) (rate(a_bucket{b="c"}[5m])) > 300e6 or on (x) (up unless up offset 5m)';
    expect(metricsIn(expr)).toEqual(['a_bucket', 'up', 'up']);
  });

  it('every metric in rules and dashboard is one the proxy has', async () => {
    const real = await realSeries();
    const unknown = expressions.flatMap(([where, expr]) =>
      metricsIn(expr)
        .filter((name) => !real.has(name) && !OF_PROMETHEUS.has(name))
        .map((name) => `${where}: ${name}`),
    );
    expect(unknown).toEqual([]);
  });

  it('the dashboard shows every metric of ours', async () => {
    const shown = new Set(
      dashboard.panels.flatMap(({ targets = [] }) => targets.flatMap(({ expr }) => metricsIn(expr))),
    );
    const ours = [...(await realSeries())].filter((name) => name.startsWith('kraken_proxy_'));
    const parts = (name: string): string[] =>
      ['_bucket', '_sum', '_count'].map((end) => name.replace(/_(?:bucket|sum|count)$/, end));
    expect(ours.filter((name) => !shown.has(name) && !parts(name).some((part) => shown.has(part)))).toEqual(
      [],
    );
  });
});

describe('the dashboard', () => {
  it('has panels with ids of their own that lie beside each other', () => {
    const { panels } = dashboard;
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const overlaps = panels.flatMap((one, index) =>
      panels
        .slice(index + 1)
        .filter(
          ({ gridPos: b }) =>
            one.gridPos.x < b.x + b.w &&
            b.x < one.gridPos.x + one.gridPos.w &&
            one.gridPos.y < b.y + b.h &&
            b.y < one.gridPos.y + one.gridPos.h,
        )
        .map(({ title }) => `${one.title} over ${title}`),
    );
    expect(overlaps).toEqual([]);
    expect(panels.filter(({ gridPos: { x, w } }) => x < 0 || x + w > 24)).toEqual([]);
  });

  it('begins with what is asked at night', () => {
    const rows = dashboard.panels.filter(({ type }) => type === 'row').map(({ title }) => title);
    expect(rows).toEqual(['Is it well?', 'Calls', 'Waiting', 'Kraken', 'Limits', 'Nonce', 'Process']);
  });

  it('takes its data from where the person says, whatever it is called there', () => {
    const variables = dashboard.templating.list.map(({ name }) => name);
    expect(variables).toEqual(['datasource', 'job', 'instance', 'account', 'client']);
    const uids = [...dashboardText.matchAll(/"datasource":\s*\{[^}]*"uid":\s*"([^"]*)"/g)].map(
      ([, uid]) => uid,
    );
    expect(uids.length).toBeGreaterThan(50);
    expect([...new Set(uids)].sort()).toEqual(['${datasource}', '-- Grafana --'].sort());
    const used = [...dashboardText.matchAll(/\$(?!__)\{?([a-z]+)/g)].map(([, name]) => name);
    expect(used.filter((name) => !variables.includes(name ?? ''))).toEqual([]);
  });

  it('asks one question under each letter of a panel', () => {
    const twice = dashboard.panels.filter(
      ({ targets = [] }) => new Set(targets.map(({ refId }) => refId)).size !== targets.length,
    );
    expect(twice).toEqual([]);
  });
});

describe('the alert rules', () => {
  it.each(rules.map(({ name, text }) => [name, text]))('%s says how bad it is and what to do', (_, text) => {
    expect(text).toMatch(/^ {10}severity: (?:critical|warning)$/m);
    for (const told of ['summary', 'description', 'runbook'])
      expect(text).toMatch(new RegExp(`^ {10}${told}: \\S`, 'm'));
  });

  it('have names of their own, and each critical one is tested', () => {
    const names = rules.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    const tests = read('prometheus', 'alerts.test.yml');
    const critical = rules.filter(({ text }) => text.includes('severity: critical')).map(({ name }) => name);
    expect(critical.length).toBeGreaterThan(7);
    expect(critical.filter((name) => !tests.includes(`alertname="${name}"`))).toEqual([]);
  });

  it('and the scrape configs name the same job', () => {
    const jobs = [rulesText, read('prometheus', 'prometheus.yml'), read('docker', 'prometheus.yml')].flatMap(
      (text) => [...text.matchAll(/\bjob(?:_name: |=")([\w-]+)/g)].map(([, job]) => job),
    );
    expect([...new Set(jobs)]).toEqual(['kraken-signing-proxy']);
  });
});

/** A tool's path, by the variable of its name in capitals or by PATH; undefined where there is none. */
function tool(name: string): string | undefined {
  const named = process.env[name.toUpperCase().replaceAll('-', '_')];
  const places = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, name));
  return [...(named === undefined ? [] : [named]), ...places].find((path) => existsSync(path));
}

/** A test that needs a tool which not every machine has; without it a line says so. */
function withTool(name: string, title: string, test: (path: string) => void): void {
  const path = tool(name);
  if (path !== undefined) {
    it(title, () => test(path));
    return;
  }
  process.stderr.write(`SKIPPED, ${name} is not installed: ${title}\n`);
  it.skip(title, () => undefined);
}

function run(command: string, args: readonly string[], cwd = ROOT): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${status}\n${stdout}\n${stderr}`);
  return stdout + stderr;
}

describe('promtool', () => {
  withTool('promtool', 'finds the rules sound, and they fire on what they are for', (promtool) => {
    const folder = join(DEPLOY, 'prometheus');
    run(promtool, ['check', 'rules', 'alerts.yml'], folder);
    run(promtool, ['test', 'rules', 'alerts.test.yml'], folder);
  });

  withTool('promtool', 'finds the scrape configs sound', (promtool) => {
    run(promtool, ['check', 'config', 'prometheus.yml'], join(DEPLOY, 'prometheus'));
    run(promtool, ['check', 'config', 'prometheus.yml'], join(DEPLOY, 'docker'));
  });

  withTool('promtool', 'can read every question of the dashboard', (promtool) => {
    const folder = mkdtempSync(join(tmpdir(), 'kraken-dashboard-'));
    try {
      const asked = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
      const records = asked.map((expr, index) => ({
        record: `panel:${index}`,
        expr: expr.replaceAll('$__rate_interval', '1m'),
      }));
      // JSON is YAML.
      writeFileSync(join(folder, 'rules.yml'), JSON.stringify({ groups: [{ name: 'all', rules: records }] }));
      run(promtool, ['check', 'rules', 'rules.yml'], folder);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe('the systemd units', () => {
  const UNITS = ['kraken-signing-proxy.service', 'kraken-signing-proxy-standby.service'] as const;

  /** Settings without comments, in order. */
  const settings = (unit: string): string[] =>
    read('systemd', unit)
      .split('\n')
      .filter((line) => /^[A-Z]\w+=/.test(line));

  withTool('systemd-analyze', 'mean something to systemd, and leave little open', (analyze) => {
    const folder = mkdtempSync(join(tmpdir(), 'kraken-units-'));
    try {
      for (const unit of UNITS) {
        // Where Node lies elsewhere, or is not installed for all, verify would find that only.
        const text = read('systemd', unit).replaceAll('/usr/bin/node', process.execPath);
        writeFileSync(join(folder, unit), text);
        expect(run(analyze, ['verify', join(folder, unit)])).not.toContain(unit);
        const said = run(analyze, ['security', '--offline=true', join(folder, unit)]);
        expect(Number(/Overall exposure level for \S+: ([\d.]+)/.exec(said)?.[1])).toBeLessThan(2);
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('do not differ in what the two processes may do', () => {
    const own = /^(?:Description|After|SyslogIdentifier)=/;
    const [first, standby] = UNITS.map((unit) => settings(unit).filter((line) => !own.test(line)));
    expect(standby).toEqual(first);
  });

  it.each(UNITS)(
    '%s lets V8 make code, takes messages from the relay, and starts again but for a bad config',
    (unit) => {
      const lines = settings(unit);
      expect(lines).toEqual(
        expect.arrayContaining([
          'Type=notify',
          'NotifyAccess=all',
          'WatchdogSec=30',
          'Restart=on-failure',
          'RestartPreventExitStatus=78',
          'ExecReload=/bin/kill -HUP $MAINPID',
        ]),
      );
      expect(lines.filter((line) => line.startsWith('MemoryDenyWriteExecute'))).toEqual([]);
      // Whether the former owner of the state is dead is told by /proc/sys/kernel/random/boot_id.
      expect(lines.filter((line) => line.startsWith('ProcSubset'))).toEqual([]);
    },
  );

  it('hand over every secret that the config names, and the config keeps its state where they let it', () => {
    const text = read('systemd', 'proxy.config.json');
    const files = new Map<string, string>();
    const config = parseConfig(text, {
      file: '/etc/kraken-signing-proxy/proxy.config.json',
      env: {},
      readFile: (path) => {
        files.set(path, '');
        return path.endsWith('.secret') ? (DEMO_KEYS[0]?.secret ?? '') : 'a-text-of-a-key-or-token';
      },
    });
    const loaded = settings('kraken-signing-proxy.service')
      .filter((line) => line.startsWith('LoadCredential='))
      .map((line) => line.split(':')[1]);
    expect(loaded.sort()).toEqual([...files.keys()].sort());
    for (const file of [config.nonce.file, config.journal.file])
      expect(dirname(file)).toBe('/var/lib/kraken-signing-proxy');
  });
});

describe('the containers', () => {
  const compose = read('docker-compose.yml');

  it('publish on loopback alone', () => {
    const published = [...compose.matchAll(/^ {6}- '?([\d.:]+:\d+)'?$/gm)].map(([, port = '']) => port);
    expect(published.map((port) => port.split(':')[1])).toEqual(['8787', '8788', '9090', '3000']);
    expect(published.filter((port) => !port.startsWith('127.0.0.1:'))).toEqual([]);
  });

  it('mount files that are there', () => {
    const mounted = [...compose.matchAll(/^ {6}- (\.\/[^:]+):/gm)].map(([, path = '']) => path);
    expect(mounted.length).toBeGreaterThan(4);
    expect(mounted.filter((path) => !existsSync(join(DEPLOY, path)))).toEqual([]);
  });

  it('are all hardened', () => {
    const services = compose
      .slice(compose.indexOf('\nservices:'), compose.indexOf('\nvolumes:'))
      .match(/^ {2}\w+:$/gm);
    expect(services).toEqual(['  proxy:', '  prometheus:', '  grafana:']);
    expect(compose.match(/^ {4}<<: \*hardened$/gm)).toHaveLength(3);
    for (const line of ['read_only: true', 'cap_drop: [ALL]', "security_opt: ['no-new-privileges:true']"])
      expect(compose).toContain(`  ${line}\n`);
  });

  it('hold what the proxy needs: the Dockerfile copies nothing that .dockerignore keeps away', () => {
    const copied = [
      ...readFileSync(join(ROOT, 'Dockerfile'), 'utf8').matchAll(/^COPY (?!--from)(.+) \S+$/gm),
    ].flatMap(([, paths = '']) => paths.split(' '));
    const kept = readFileSync(join(ROOT, '.dockerignore'), 'utf8').split('\n');
    expect(copied.length).toBeGreaterThan(5);
    expect(copied.filter((path) => !kept.includes(`!${path}`))).toEqual([]);
  });

  it("the proxy's config is good, for the names under which it is called there", () => {
    const folder = mkdtempSync(join(tmpdir(), 'kraken-compose-'));
    try {
      mkdirSync(join(folder, 'docker'));
      const file = join(folder, 'docker', 'proxy.config.json');
      copyFileSync(join(DEPLOY, 'docker', 'proxy.config.json'), file);
      const { status, stdout, stderr } = spawnSync(
        process.execPath,
        [join(ROOT, 'dist', 'main.js'), 'check', '--config', file],
        { encoding: 'utf8', env: { OPS_TOKEN: '0123456789abcdef0123456789abcdef' } },
      );
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(stdout).toMatch(/is good: accounts master, alice; clients trial-bot, watcher; upstream sandbox/);
      const { ops } = JSON.parse(readFileSync(file, 'utf8')) as { ops: { hosts: string[]; port: number } };
      const targets = [...read('docker', 'prometheus.yml').matchAll(/targets: \['([^']+)'\]/g)].map(
        ([, at]) => at,
      );
      expect(targets).toEqual([`proxy:${ops.port}`]);
      expect(ops.hosts).toContain('proxy');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('have no token of their own, so that nobody runs with a known one', () => {
    expect(compose).toMatch(/OPS_TOKEN: \$\{OPS_TOKEN:\?/);
    expect(compose).toMatch(/GF_SECURITY_ADMIN_PASSWORD: \$\{GRAFANA_PASSWORD:\?/);
  });
});
