import { existsSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { Browser, BrowserContext, Page } from 'playwright-core';

/** Where Chromium is on this machine; undefined: nowhere. CHROMIUM_PATH may name one. */
export const CHROMIUM = [process.env.CHROMIUM_PATH, '/usr/bin/chromium', '/usr/bin/google-chrome'].find(
  (path) => path !== undefined && existsSync(path),
);

/** The screens on which the page is looked at. */
export const SCREENS = {
  wide: { width: 1440, height: 900 },
  phone: { width: 390, height: 844 },
} as const;
export type Screen = keyof typeof SCREENS;
export type Scheme = 'light' | 'dark';

/** One finding of axe-core, as far as tests need it. */
export interface AxeViolation {
  readonly id: string;
  readonly impact: string | null;
  readonly nodes: readonly string[];
}

/** A visit to the operator's page in a context of its own, with all that went wrong in it. */
export interface Visit {
  readonly page: Page;
  /** Console errors and warnings, uncaught errors, CSP violations, requests that failed or were refused. */
  readonly trouble: readonly string[];
  close(): Promise<void>;
}

/** Says in one line that the tests with a browser are left out, when they are; returns `describe` or its skip. */
export function describeWithBrowser(what: string): jest.Describe {
  if (CHROMIUM !== undefined) return describe;
  process.stderr.write(`SKIPPED: ${what} (no chromium; CHROMIUM_PATH may name one)\n`);
  return describe.skip;
}

/** A headless Chromium; one does for a test file. */
export async function openBrowser(): Promise<Browser> {
  // Loaded here: the files that have no browser to test with need not load it either.
  const { chromium } = await import('playwright-core');
  return chromium.launch({
    ...(CHROMIUM !== undefined && { executablePath: CHROMIUM }),
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
  });
}

/** Opens the operator's page in a fresh context, and notes everything that goes wrong from its first byte on. */
export async function visit(
  browser: Browser,
  url: string,
  { screen = 'wide', scheme = 'light' }: { readonly screen?: Screen; readonly scheme?: Scheme } = {},
): Promise<Visit> {
  const context = await browser.newContext({
    viewport: SCREENS[screen],
    colorScheme: scheme,
    reducedMotion: 'reduce',
  });
  context.setDefaultTimeout(8_000);
  const page = await context.newPage();
  const trouble = await noteTrouble(page, context);
  await page.goto(url, { waitUntil: 'load' });
  return { page, trouble, close: () => context.close() };
}

async function noteTrouble(page: Page, context: BrowserContext): Promise<string[]> {
  const trouble: string[] = [];
  await context.exposeFunction('noteViolation', (text: string) => trouble.push(`policy: ${text}`));
  await page.addInitScript(() => {
    const { document, noteViolation } = globalThis as unknown as {
      document: { addEventListener(name: string, listen: (event: Record<string, string>) => void): void };
      noteViolation: (text: string) => void;
    };
    document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => {
      noteViolation(`${String(violatedDirective)} ${String(blockedURI)}`);
    });
  });
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) trouble.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => trouble.push(`uncaught: ${error.stack ?? error.message}`));
  page.on('requestfailed', (request) => {
    trouble.push(`failed: ${new URL(request.url()).pathname} ${request.failure()?.errorText ?? ''}`);
  });
  page.on('response', (response) => {
    if (response.status() >= 400) {
      trouble.push(`${response.status()}: ${new URL(response.url()).pathname}`);
    }
  });
  return trouble;
}

/** What axe-core finds on the page as it is, serious or critical. */
export async function seriousViolations(page: Page): Promise<readonly AxeViolation[]> {
  const { source } = createRequire(import.meta.url)('axe-core') as { source: string };
  await page.evaluate(source);
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as {
      axe: {
        run(): Promise<{
          violations: {
            id: string;
            impact: string | null;
            nodes: { html: string; failureSummary: string }[];
          }[];
        }>;
      };
    };
    const { violations } = await axe.run();
    return violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .map(({ id, impact, nodes }) => ({
        id,
        impact,
        nodes: nodes.map(
          ({ html, failureSummary }) => `${html.slice(0, 160)} ${failureSummary.slice(0, 300)}`,
        ),
      }));
  });
}

/** How many pixels the page can be scrolled sideways. */
export function sidewaysScroll(page: Page): Promise<number> {
  return page.evaluate(() => {
    const { document } = globalThis as unknown as {
      document: { documentElement: { scrollWidth: number; clientWidth: number } };
    };
    const { scrollWidth, clientWidth } = document.documentElement;
    return scrollWidth - clientWidth;
  });
}

/** Puts the page that is open onto another screen, in another scheme; nothing is loaded anew. */
export async function showOn(page: Page, screen: Screen, scheme: Scheme): Promise<void> {
  await page.setViewportSize(SCREENS[screen]);
  await page.emulateMedia({ colorScheme: scheme });
  await untilDrawn(page);
}

/** Two frames: one to lay the page out, one for what is drawn after that. */
async function untilDrawn(page: Page): Promise<void> {
  await page.evaluate(
    'new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(resolve))))',
  );
}

/** Keeps a picture of the whole page in the folder that PAGE_SCREENSHOTS names; does nothing without one. */
export async function keepScreenshot(page: Page, name: string, fullPage = true): Promise<void> {
  const folder = process.env.PAGE_SCREENSHOTS;
  if (folder === undefined || folder === '') return;
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${name}.png`);
  const screen = page.viewportSize();
  if (!fullPage || screen === null) {
    await page.screenshot({ path });
    return;
  }
  // What is out of sight is not drawn: the screen becomes as high as the page.
  const height = await page.evaluate<number>('document.documentElement.scrollHeight');
  await page.setViewportSize({ ...screen, height });
  await untilDrawn(page);
  await page.screenshot({ path });
  await page.setViewportSize(screen);
}
