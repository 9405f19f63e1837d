import { readFileSync } from 'node:fs';
// The project's, which has made the dist/ that is tested here: this package needs no compiler of its own.
import ts from 'typescript';

const source = readFileSync(new URL('../support/certificates.ts', import.meta.url), 'utf8');
const { outputText } = ts.transpileModule(source, {
  compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023 },
});

export const { TestAuthority } = await import(`data:text/javascript,${encodeURIComponent(outputText)}`);
