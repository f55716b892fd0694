// Chromium for the tests of the page: reads one command a line from standard input, as JSON, and answers each with a line.
//
// The program that runs this decides what must be seen; here is how it is looked at.

import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

const require = createRequire(`${process.env.NODE_MODULES}/`);
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  // The sandbox needs a user of its own, whom a container often does not have.
  args: [
    // A name of another site that points here, as a name server can make it.
    '--host-resolver-rules=MAP rebound.example 127.0.0.1',
    ...(process.getuid() === 0 ? ['--no-sandbox'] : []),
  ],
});
let context = null;
let page = null;
// Everything that pages asked for, and what they complained of.
let requests = [];
let complaints = [];

// The letters of the cells that are drawn, by upload, with the moment that they show.
const cells = () =>
  page.evaluate(() => ({
    at: document.documentElement.dataset.at,
    updates: Number(document.documentElement.dataset.updates ?? 0),
    uploads: [...document.querySelectorAll('.upload')].map((upload) => ({
      path: upload.querySelector('h3').textContent,
      label: upload.querySelector('.cells').getAttribute('aria-label'),
      numbers: [...upload.querySelectorAll('.cells .cell')].map((cell) => Number(cell.dataset.part)),
      cells: [...upload.querySelectorAll('.cells .cell')].map((cell) => cell.dataset.state).join(''),
    })),
  }));

const commands = {
  async open({ url, width, height = 900, scheme = 'light', script = true }) {
    await context?.close();
    [requests, complaints] = [[], []];
    context = await browser.newContext({
      viewport: { width, height },
      colorScheme: scheme,
      javaScriptEnabled: script,
      reducedMotion: 'reduce',
    });
    context.on('request', (request) => requests.push(request.url()));
    page = await context.newPage();
    page.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(String(error)));
    const response = await page.goto(url);
    return { status: response.status() };
  },
  cells,
  // The cells once they show something that is later than now.
  async next_cells() {
    const { updates } = await cells();
    await page.waitForFunction((seen) => Number(document.documentElement.dataset.updates ?? 0) > seen, updates);
    return cells();
  },
  async text({ selector }) {
    return page.locator(selector).first().innerText();
  },
  async wait_for({ selector }) {
    await page.locator(selector).first().waitFor({ state: 'attached' });
    return true;
  },
  async wait_text({ text }) {
    await page.getByText(text).first().waitFor();
    return true;
  },
  async axe() {
    // Not as an element of the page, which its policy would not let in.
    await page.evaluate(axe);
    const { violations, passes } = await page.evaluate(() => globalThis.axe.run());
    const told = violations.map((violation) => `${violation.id}: ${violation.nodes.map((node) => node.html).join(' ')}`);
    return { violations: told, passes: passes.length };
  },
  // Opens what is folded.
  async unfold() {
    return page.evaluate(() => document.querySelectorAll('details').forEach((folded) => { folded.open = true; }));
  },
  async overflow() {
    return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  },
  // What the focus goes through by the tabulator, until it leaves the page.
  async tabs() {
    const met = [];
    for (let step = 0; step < 60; step += 1) {
      await page.keyboard.press('Tab');
      const name = await page.evaluate(() => {
        const element = document.activeElement;
        if (!element || element === document.body) return null;
        const style = getComputedStyle(element);
        return {
          name: element.getAttribute('aria-label') ?? element.textContent.trim(),
          outlined: style.outlineStyle !== 'none' && style.outlineWidth !== '0px',
        };
      });
      if (!name || (met.length > 0 && met[0].name === name.name)) break;
      met.push(name);
    }
    return met;
  },
  async press({ key }) {
    await page.keyboard.press(key);
    return true;
  },
  async focus({ selector }) {
    await page.locator(selector).first().focus();
    return true;
  },
  async focused() {
    return page.evaluate(() => document.activeElement?.id || document.activeElement?.getAttribute('aria-label') || '');
  },
  async requests() {
    return { requests, complaints };
  },
  // What a page of this address is told when it asks that one.
  async ask_from_elsewhere({ url }) {
    return page.evaluate(
      (asked) => fetch(asked).then((answer) => `answered ${answer.status}`, (error) => `refused: ${error.name}`),
      url,
    );
  },
  async screenshot({ path, full = true }) {
    await page.screenshot({ path, fullPage: full });
    return true;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...parameters } = JSON.parse(line);
  let answer;
  try {
    answer = { answer: await commands[command](parameters) };
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
