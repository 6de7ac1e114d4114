// What must hold of the pages in a real browser. Arguments: program, address, monitor ("": the first one of the fleet),
// folder for pictures ("": none). Exit status 1 when something does not hold.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [program, address, wanted, pictures] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const faults = [];
let held = 0;

function holds(what, condition, found = "") {
  if (condition) held += 1;
  else faults.push(`${what}${found === "" ? "" : `: found ${found}`}`);
}

const browser = await chromium.launch({ executablePath: program, args: flags });

async function opened(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, ...options });
  const page = await context.newPage();
  page.on("console", (message) => message.type() === "error" && faults.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => faults.push(`script: ${error.message}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(address) && !request.url().startsWith("data:")) faults.push(`asks for ${request.url()}`);
  });
  return page;
}

async function picture(page, name) {
  if (!pictures) return;
  mkdirSync(pictures, { recursive: true });
  await page.screenshot({ path: `${pictures}/${name}.png`, fullPage: !name.startsWith("fleet") });
}

// axe is evaluated as the test's own code, so the page's policy need not allow it.
async function accessible(page, where) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const each of violations.filter((one) => ["serious", "critical"].includes(one.impact))) {
    faults.push(`${where}: ${each.id}: ${each.nodes.length} times, such as ${each.nodes[0].html.slice(0, 160)}`);
  }
  held += 1;
}

async function narrow(page, where) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  holds(`${where} fits a phone`, over <= 0, `${over} pixels too wide`);
}

const page = await opened();
const answer = await page.goto(`${address}/`);
holds("the fleet is there", answer.status() === 200, answer.status());
const packed = Number((await answer.allHeaders())["content-length"]);
holds("the fleet is packed in at most 100 kB", packed <= 100_000, packed);
const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
holds("first paint within a second", paint !== undefined && paint < 1000, paint);
await accessible(page, "fleet");
await picture(page, wanted ? "fleet-of-1000" : "fleet");

const rows = () => page.locator("tbody tr:visible");
const all = await rows().count();
const first = wanted || (await page.locator("tbody tr th a").first().textContent());
if (wanted) {
  await page.getByRole("searchbox").fill("monitor-99");
  holds("search finds nine of ten", (await rows().count()) === 9 && all === 1000, `${await rows().count()} of ${all}`);
  holds("search says how many", (await page.locator("output").textContent()) === `9 of ${all}`);
  await page.getByRole("searchbox").fill("");
  // By keyboard alone: the head is reached with Tab and pressed with Enter.
  await page.getByRole("searchbox").focus();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  const names = await page.locator("tbody tr th").allTextContents();
  holds("sorted by name", JSON.stringify(names) === JSON.stringify([...names].sort((a, b) => a.localeCompare(b))));
  holds("says how it is sorted", (await page.locator("th[aria-sort=ascending]").count()) === 1);
}

await page.getByRole("link", { name: first, exact: true }).first().click();
holds("drills down to the monitor", (await page.locator("h1").textContent()) === first);
await accessible(page, "monitor");
await picture(page, `monitor-${first}`);
await page.locator("section:has(h2:text-is('Windows')) tbody tr a").first().click();
holds("drills down to a window", (await page.locator("h1").textContent()).startsWith("Window of "));
await accessible(page, "window");
await picture(page, `window-${first}`);
await page.locator("h2:text-is('Decisions') + div a").first().click();
holds("drills down to a decision", (await page.locator("h1").textContent()).startsWith("Decision "));
await accessible(page, "decision");
await picture(page, `decision-${first}`);
const asJson = await page.request.get(await page.getByText("The same as JSON").evaluate((link) => link.href));
holds("the same as JSON", asJson.status() === 200 && (await asJson.json()).decision_id.length === 64);

const plain = await opened({ javaScriptEnabled: false });
await plain.goto(`${address}/monitors/${first}`);
holds("whole without scripts", (await plain.locator("tbody tr").count()) > 0 && (await plain.locator("svg").count()) > 0);
await plain.goto(`${address}/`);
holds("no search without scripts", !(await plain.locator(".find").isVisible()));

for (const path of ["/", `/monitors/${first}`]) {
  const phone = await opened({ viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true });
  await phone.goto(`${address}${path}`);
  await narrow(phone, path);
  await picture(phone, `phone${path === "/" ? "-fleet" : `-${first}`}${wanted ? "" : "-demo"}`);
  const dark = await opened({ colorScheme: "dark" });
  await dark.goto(`${address}${path}`);
  const color = await dark.evaluate(() => getComputedStyle(document.body).backgroundColor);
  holds(`${path} is dark where it is asked to be`, color === "rgb(20, 23, 28)", color);
  await accessible(dark, `${path} in the dark`);
}

const lost = await opened();
lost.removeAllListeners("console"); // the browser itself calls the status 404 an error
holds("an unknown page says so", (await lost.goto(`${address}/monitors/nobody`)).status() === 404);

await browser.close();
for (const fault of faults) console.log(`FAIL ${fault}`);
console.log(`${address}: ${held} checks hold, ${faults.length} do not; first paint ${Math.round(paint)} ms, ${packed} bytes`);
process.exit(faults.length ? 1 : 0);
