import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const SRC = resolve(dirname(fileURLToPath(import.meta.url)), '../src');

/** One import, re-export or dynamic import of a source file. */
interface Import {
  /** The file that imports, relative to src: `lane/lane.ts`. */
  readonly from: string;
  /** The imported file, relative to src, or the package's name. */
  readonly to: string;
  readonly isPackage: boolean;
  readonly isType: boolean;
}

interface Source {
  readonly file: string;
  readonly tree: ts.SourceFile;
}

/**
 * The layers from the top down (DESIGN 3). A file may import from its own layer's parts as `PARTS` allows, and
 * from every layer below; the first pattern that matches a file gives its layer.
 */
const LAYERS: readonly (readonly [layer: string, pattern: RegExp])[] = [
  ['main', /^(?:(?:main|log-format|service-manager)\.ts|cli\/)/],
  [
    'server',
    /^(?:server|backing|call-path|doctor-ward|events|file-backing|in-force|operator-controls|operator-side|owned-state|parts|postgres-backing|public-side|status|warm-up|version)\.ts$/,
  ],
  ['config', /^config(?:\.ts$|\/)/],
  ['http', /^http\//],
  ['calls', /^(?:(?:proxy|public-api)\.ts$|calls\/)/],
  [
    'parts',
    /^(?:clients\.ts|answers\/|doctor\/|holds\/|journal\/|lane\/|kraken\/|nonce\/|operator\/|orders\/|policy\/|postgres\/)/,
  ],
  [
    'ground',
    /^(?:clocks|durable-file|durable-lines|errors|live-view|named-orders|secret|metrics|log|replay-guard)\.ts$/,
  ],
];
const SANDBOX = 'sandbox/';
/** The sandbox stands apart: these start it, and it knows nobody. */
const SANDBOX_STARTERS = ['main.ts', 'server.ts'];

/** Which files may import an outside package. */
const DOORS: Readonly<Record<string, RegExp>> = {
  hono: /^http\//,
  '@hono/node-server': /^server\.ts$/,
  'p-queue': /^lane\/lane\.ts$/,
  undici: /^kraken\/transport\.ts$/,
  'proper-lockfile': /^nonce\/ownership\.ts$/,
  'prom-client': /^metrics\.ts$/,
  pg: /^postgres\/database\.ts$/,
  pino: /^log\.ts$/,
  otpauth: /^kraken\/account\.ts$/,
  'bignumber.js': /^policy\/decimal\.ts$/,
  zod: /^config(?:\.ts$|\/)/,
};

/** Which files may touch these properties of `process`. */
const PROCESS_DOORS: Readonly<Record<string, RegExp>> = {
  env: /^(?:main|config)\.ts$/,
  argv: /^main\.ts$/,
  exit: /^main\.ts$/,
  exitCode: /^main\.ts$/,
  on: /^main\.ts$/,
  stdout: /^(?:main|log)\.ts$/,
  stderr: /^main\.ts$/,
};

const sources = readSources();
const imports = sources.flatMap(importsOf);

function readSources(): Source[] {
  const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.ts'),
  );
  return files.map((name) => {
    const text = readFileSync(join(SRC, name), 'utf8');
    const file = name.replaceAll('\\', '/');
    return { file, tree: ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true) };
  });
}

function importsOf({ file, tree }: Source): Import[] {
  const found: Import[] = [];
  const add = (specifier: ts.Expression | undefined, isType: boolean): void => {
    if (specifier === undefined || !ts.isStringLiteralLike(specifier)) {
      throw new Error(`${file}: an import whose target is not a literal`);
    }
    const { text } = specifier;
    if (text.startsWith('node:') || builtinModules.includes(text)) return;
    const isPackage = !text.startsWith('.');
    const to = isPackage
      ? text
          .split('/')
          .slice(0, text.startsWith('@') ? 2 : 1)
          .join('/')
      : relative(SRC, resolve(SRC, dirname(file), text))
          .replaceAll('\\', '/')
          .replace(/\.js$/, '.ts');
    found.push({ from: file, to, isPackage, isType });
  };
  visit(tree, (node) => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, isTypeOnly(node.importClause));
    else if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined) {
      add(node.moduleSpecifier, node.isTypeOnly);
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      add(node.arguments[0], false);
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      add(node.argument.literal, true);
    }
  });
  return found;
}

/** `import type …`, or every name in it marked so. */
function isTypeOnly(clause: ts.ImportClause | undefined): boolean {
  if (clause === undefined) return false;
  if (clause.phaseModifier === ts.SyntaxKind.TypeKeyword) return true;
  const { namedBindings, name } = clause;
  if (name !== undefined || namedBindings === undefined || !ts.isNamedImports(namedBindings)) return false;
  return namedBindings.elements.every((element) => element.isTypeOnly);
}

function visit(node: ts.Node, see: (node: ts.Node) => void): void {
  see(node);
  ts.forEachChild(node, (child) => visit(child, see));
}

function layerOf(file: string): number {
  return LAYERS.findIndex(([, pattern]) => pattern.test(file));
}

/** Which of the sibling parts a file belongs to: `lane`, `kraken`, … */
function partOf(file: string): string {
  return file.split('/')[0] ?? '';
}

/** A place in a file, as `src/lane/lane.ts:12`. */
function placeOf({ file, tree }: Source, node: ts.Node): string {
  return `${file}:${tree.getLineAndCharacterOfPosition(node.getStart()).line + 1}`;
}

const within = imports.filter(({ isPackage }) => !isPackage);
const arrow = ({ from, to }: Import): string => `${from} -> ${to}`;

it('the sources were found and read', () => {
  expect(sources.length).toBeGreaterThan(40);
  expect(imports.map(arrow)).toContain('call-path.ts -> lane/routes.ts');
  expect(imports.map(arrow)).toContain('lane/lane.ts -> p-queue');
});

it('every file has its place in a layer', () => {
  const homeless = sources.filter(({ file }) => layerOf(file) < 0 && !file.startsWith(SANDBOX));
  expect(homeless.map(({ file }) => file)).toEqual([]);
});

it('imports point down, or to the same layer', () => {
  const up = within.filter(
    ({ from, to }) => !from.startsWith(SANDBOX) && !to.startsWith(SANDBOX) && layerOf(to) < layerOf(from),
  );
  expect(up.map(arrow)).toEqual([]);
});

it('parts know each other only as types', () => {
  const parts = LAYERS.findIndex(([layer]) => layer === 'parts');
  const siblings = within.filter(
    ({ from, to, isType }) =>
      layerOf(from) === parts && layerOf(to) === parts && partOf(from) !== partOf(to) && !isType,
  );
  expect(siblings.map(arrow)).toEqual([]);
});

it('no file imports itself by a way round, types aside', () => {
  const edges = new Map<string, string[]>();
  for (const { from, to, isType } of within) if (!isType) edges.set(from, [...(edges.get(from) ?? []), to]);
  const cycles: string[] = [];
  const walk = (file: string, way: readonly string[]): void => {
    if (way.includes(file)) {
      cycles.push([...way.slice(way.indexOf(file)), file].join(' -> '));
      return;
    }
    for (const next of edges.get(file) ?? []) walk(next, [...way, file]);
  };
  for (const { file } of sources) walk(file, []);
  expect([...new Set(cycles)]).toEqual([]);
});

it('the sandbox imports nothing of the proxy, and only main and server start it', () => {
  const out = within.filter(({ from, to }) => from.startsWith(SANDBOX) && !to.startsWith(SANDBOX));
  const into = within.filter(
    ({ from, to }) => to.startsWith(SANDBOX) && !from.startsWith(SANDBOX) && !SANDBOX_STARTERS.includes(from),
  );
  expect([...out, ...into].map(arrow)).toEqual([]);
});

it('every outside package has its one door', () => {
  const packages = imports.filter(({ isPackage }) => isPackage);
  expect(packages.filter(({ from, to }) => DOORS[to]?.test(from) !== true).map(arrow)).toEqual([]);
  // A door that nobody uses is a rule that nobody keeps.
  expect(Object.keys(DOORS).filter((name) => !packages.some(({ to }) => to === name))).toEqual([]);
});

it("the process's environment, arguments, streams and end have their door", () => {
  const touched: string[] = [];
  for (const source of sources) {
    visit(source.tree, (node) => {
      const isProcess = (expression: ts.Expression): boolean =>
        ts.isIdentifier(expression) && expression.text === 'process';
      if (!ts.isPropertyAccessExpression(node) || !isProcess(node.expression)) return;
      const door = PROCESS_DOORS[node.name.text];
      if (door !== undefined && !door.test(source.file))
        touched.push(`${placeOf(source, node)} ${node.getText()}`);
    });
  }
  expect(touched).toEqual([]);
});

it('there are no default exports', () => {
  const found = sources.flatMap((source) =>
    source.tree.statements
      .filter(
        (statement) =>
          ts.isExportAssignment(statement) ||
          (ts.canHaveModifiers(statement) &&
            ts.getModifiers(statement)?.some(({ kind }) => kind === ts.SyntaxKind.DefaultKeyword) === true) ||
          (ts.isExportDeclaration(statement) &&
            statement.exportClause !== undefined &&
            ts.isNamedExports(statement.exportClause) &&
            statement.exportClause.elements.some(({ name }) => name.text === 'default')),
      )
      .map((statement) => placeOf(source, statement)),
  );
  expect(found).toEqual([]);
});

it('nothing is written to the console', () => {
  const found: string[] = [];
  for (const source of sources) {
    visit(source.tree, (node) => {
      if (ts.isIdentifier(node) && node.text === 'console') found.push(placeOf(source, node));
    });
  }
  expect(found).toEqual([]);
});

it('no module keeps state that changes', () => {
  const found = sources.flatMap((source) =>
    source.tree.statements
      .filter(ts.isVariableStatement)
      .filter(({ declarationList }) => (declarationList.flags & ts.NodeFlags.Const) === 0)
      .map((statement) => placeOf(source, statement)),
  );
  expect(found).toEqual([]);
});

it('nothing happens at import but in main.ts', () => {
  const found = sources
    .filter(({ file }) => file !== 'main.ts')
    .flatMap((source) =>
      source.tree.statements.filter(ts.isExpressionStatement).map((statement) => placeOf(source, statement)),
    );
  expect(found).toEqual([]);
});
