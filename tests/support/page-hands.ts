import type { Page } from 'playwright-core';

/** Resolves once the page has its figures and hears from the proxy. */
export async function untilLive(page: Page): Promise<void> {
  await untilShown(page, '#connection', 'Live');
  await page.locator('#board').waitFor();
}

/** Resolves once something that the selector finds shows the text. */
export async function untilShown(page: Page, selector: string, text: string | RegExp): Promise<void> {
  await page.locator(selector).filter({ hasText: text }).first().waitFor();
}

/** The texts of all that a selector finds, as they are shown. */
export function textsOf(page: Page, selector: string): Promise<string[]> {
  return page.locator(selector).allInnerTexts();
}

/** A number among the page's figures: `Calls`, `Executed`, `Refused`, `Unknown`, `Not sent`, `Nonces` (a second). */
export async function figureOf(page: Page, name: string): Promise<number> {
  const figure = page
    .locator('#figures > div')
    .filter({ has: page.locator('dt', { hasText: exactly(name) }) });
  return Number.parseFloat((await figure.locator('.value').innerText()).replaceAll(',', ''));
}

/** Types the token that the page asks for. */
export async function giveToken(page: Page, token: string): Promise<void> {
  await page.getByLabel('Token').fill(token);
  await page.getByRole('button', { name: 'Open' }).click();
}

/** How long it takes from now until the page says that it hears nothing, ms by the browser's clock. */
export function untilStale(page: Page): Promise<number> {
  return page.evaluate(`new Promise((resolve) => {
    const start = performance.now();
    const look = setInterval(() => {
      if (document.getElementById('stale').hidden) return;
      clearInterval(look);
      resolve(performance.now() - start);
    }, 20);
  })`);
}

export interface HandledAct {
  /** The button among the acts: `Pause…`. */
  readonly button: string;
  /** The dialog's own button: `Pause`. */
  readonly submit: string;
  readonly who: string;
  readonly why: string;
  /** What to choose, by label: `{ What: 'account:alice' }`. */
  readonly choose?: Readonly<Record<string, string>>;
}

/** Opens an act's dialog, fills it in and sends it. What became of it shows in `#toast`, or in the dialog. */
export async function doAct(
  page: Page,
  { button, submit, who, why, choose = {} }: HandledAct,
): Promise<void> {
  await page.locator('#acts').getByRole('button', { name: button }).click();
  const dialog = page.getByRole('dialog');
  for (const [label, value] of Object.entries(choose)) await dialog.getByLabel(label).selectOption(value);
  await dialog.getByLabel('Who you are').fill(who);
  await dialog.getByLabel('Why').fill(why);
  await dialog.getByRole('button', { name: submit, exact: true }).click();
  // Nowhere in particular: the calls stand still under a pointer.
  await page.mouse.move(5, 5);
}

function exactly(text: string): RegExp {
  return new RegExp(`^${text}$`);
}
