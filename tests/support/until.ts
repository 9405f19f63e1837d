/** How often it is looked at each turn of the event loop before the looks spare the processor. */
const EAGER_LOOKS = 20;
/** What takes long is looked at less often, ms. */
const LONGEST_PAUSE_MS = 5;

/** Resolves once the condition holds; a test that waits for what never comes ends by jest's own timeout. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let looks = 0; !(await condition()); looks++)
    await new Promise((resolve) => {
      // Test files run beside each other: one that only turned its event loop would take a core from them.
      if (looks < EAGER_LOOKS) setImmediate(resolve);
      else setTimeout(resolve, Math.min(looks / 50, LONGEST_PAUSE_MS));
    });
}
