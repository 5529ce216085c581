// A person's way through the console, in a real browser, with every page looked at by axe.
// Usage: node story.mjs STEP, with all else in the environment; answers one line of JSON.

import { createRequire } from "node:module";
import { existsSync } from "node:fs";
import { join } from "node:path";

const require = createRequire(join(process.env.CONSOLE_CLIENTS, "package.json"));
const { chromium } = require("playwright-core");
const axe = require.resolve("axe-core/axe.min.js");

const { BASE_URL, LOCALE, STATE, SHOTS, NAME, SECRET, INSTANCE, TARGET, USER, PASSWORD, SCHEME, SCRIPTS, WIDTH } = process.env;
const step = process.argv[2];

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-dev-shm-usage", "--lang=" + LOCALE],
});
const context = await browser.newContext({
  locale: LOCALE,
  colorScheme: SCHEME ?? "light",
  javaScriptEnabled: SCRIPTS !== "off",
  viewport: { width: Number(WIDTH ?? 1100), height: 800 },
  storageState: STATE && existsSync(STATE) ? STATE : undefined,
});
const page = await context.newPage();
const errors = [];
const found = [];
page.on("pageerror", (error) => errors.push(String(error)));
page.on("console", (message) => message.type() === "error" && errors.push(message.text()));

// Looks at the page with axe, outside of its content security policy.
async function check(name) {
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  if (overflow > 1) errors.push(`${name} is ${overflow} px wider than the window`);
  if (SCRIPTS === "off") return;
  const session = await context.newCDPSession(page);
  const source = (await import("node:fs")).readFileSync(axe, "utf8");
  const tree = await session.send("Page.getFrameTree");
  const world = await session.send("Page.createIsolatedWorld", { frameId: tree.frameTree.frame.id });
  const run = async (expression) => {
    const answer = await session.send("Runtime.evaluate", {
      expression, contextId: world.executionContextId, awaitPromise: true, returnByValue: true,
    });
    if (answer.exceptionDetails) throw new Error(JSON.stringify(answer.exceptionDetails));
    return answer.result.value;
  };
  await run(source + ";0");
  const violations = await run(
    "axe.run(document).then(r => r.violations.map(v => ({ id: v.id, nodes: v.nodes.map(n => n.html).slice(0, 3) })))");
  for (const violation of violations) found.push({ page: name, ...violation });
  await session.detach();
}

async function shot(name) {
  if (SHOTS) await page.screenshot({ path: join(SHOTS, `${name}.png`) });
}

const text = (selector) => page.locator(selector).first().innerText();

const steps = {
  async signIn() {
    await page.goto(BASE_URL + "/");
    await check("sign-in");
    await shot("sign-in");
    await page.fill("input[name=name]", NAME);
    await page.fill("input[name=secret]", SECRET);
    await page.click("button.main");
    await page.waitForURL(/\/projects\/[0-9a-f]{24}$/);
    await check("fleet");
    await shot("fleet");
    return { heading: await text("h1"), lang: await page.getAttribute("html", "lang") };
  },
  async begin() {
    // An empty server: a database and somebody who logs in to it are made here.
    await page.goto(BASE_URL + "/");
    await page.locator("main pre").waitFor();
    await check("fleet-empty");
    await page.fill("fieldset input[name=name]", INSTANCE);
    await page.click("fieldset button");
    await page.waitForURL(/\/projects\/[0-9a-f]{24}$/);
    await page.click("nav a[href$='/access']");
    await page.fill("fieldset:has(button[value=add-user]) input[name=name]", USER);
    await page.fill("input[name=password]", PASSWORD);
    await page.selectOption("fieldset:has(button[value=add-user]) select[name=role]", "atlasAdmin");
    await page.click("button[value=add-user]");
    await page.locator(`th >> text="${USER}"`).waitFor();
    await page.goto(BASE_URL + "/");
    for (let tries = 0; tries < 150 && !(await page.locator(".state.idle").count()); tries++) {
      await page.waitForTimeout(200);
      await page.reload();
    }
    await check("fleet");
    await shot("fleet");
    await page.click(`th >> text="${INSTANCE}"`);
    await page.waitForURL(/\/instances\//);
    return { address: await text("section code") };
  },
  async snapshot() {
    await page.goto(BASE_URL + "/");
    await page.click(`th >> text="${INSTANCE}"`);
    await page.waitForURL(/\/instances\//);
    const before = await page.locator(".state.completed").count();
    await page.click("form[action$='/snapshots'] button");
    await page.waitForURL(/\/instances\//);
    for (let tries = 0; tries < 100 && (await page.locator("table .state.completed").count()) <= before; tries++) {
      await page.waitForTimeout(200);
      await page.reload();
    }
    await check("instance");
    await shot("instance");
    return { snapshots: await page.locator("table .state.completed").count() };
  },
  async pick() {
    // A click on the timeline, and one closer.
    await page.goto(BASE_URL + "/");
    await page.click(`th >> text="${INSTANCE}"`);
    await page.waitForURL(/\/instances\//);
    const box = await page.locator("input.timeline").boundingBox();
    await page.mouse.click(box.x + box.width * 0.9, box.y + 40);
    await page.waitForURL(/restore\?/);
    const first = await page.inputValue("input[name=moment]");
    await page.locator("input.timeline").click({ position: { x: 400, y: 40 } });
    await page.waitForURL(/pick\.x=/);
    await check("restore");
    await shot("restore");
    return { first, closer: await page.inputValue("input[name=moment]") };
  },
  async restore() {
    await page.goto(BASE_URL + "/");
    await page.click(`th >> text="${INSTANCE}"`);
    await page.click(".actions a.button.main");
    await page.selectOption("select[name=snapshot]", { index: 1 });
    await page.click("button.main[formaction$='/restore/plan']");
    await page.waitForURL(/restore\/plan/);
    await check("plan");
    await shot("plan");
    const dropped = await page.locator("tr.dropped th").allInnerTexts();
    await page.fill("input[name=confirm]", "something else");
    await page.click("button.danger");
    const refused = await text(".error");
    await page.fill("input[name=confirm]", TARGET);
    await page.click("button.danger");
    await page.waitForURL(/\/jobs\//);
    const url = page.url();
    await page.locator(".state.completed").waitFor({ timeout: 60000 });
    await check("job");
    await shot("job");
    // The page came to its end by itself.
    return { dropped, refused, stayed: page.url() === url, state: await text(".state") };
  },
  async drill() {
    await page.goto(BASE_URL + "/");
    await page.click(`th >> text="${INSTANCE}"`);
    await page.click("button[value=newest]");
    await page.waitForURL(/\/drills\//);
    await page.locator(".state.proven").waitFor({ timeout: 60000 });
    await check("drill");
    await shot("drill");
    const rows = await page.locator("tbody tr").count();
    await page.goto(BASE_URL + "/");
    const proven = await page.locator("tbody tr td").nth(4).innerText();
    await page.click("nav a[href$='/jobs']");
    await check("jobs");
    const jobs = await page.locator("tbody tr").count();
    await page.click("nav a[href$='/settings']");
    await check("settings");
    if (await page.locator("button[name=channel]").count()) {
      await page.click("button[name=channel]");
      await page.locator("[role=status]").waitFor();
      await check("settings");
    }
    await shot("settings");
    return { rows, proven, jobs };
  },
  async documents() {
    // Single documents, from the newest snapshot.
    await page.goto(BASE_URL + "/");
    await page.click(`th >> text="${INSTANCE}"`);
    await page.click(".actions a.button.main");
    await page.selectOption("select[name=snapshot]", { index: 1 });
    await page.click("fieldset summary");
    await page.fill("input[name=documents]", "shop.orders");
    await page.fill("textarea[name=filter]", '{"_id": {"$lt": 3}}');
    await page.selectOption("select[name=on-conflict]", "replace");
    await check("restore-documents");
    await page.click("button.main[formaction$='/restore/plan']");
    await page.waitForURL(/restore\/plan/);
    await check("plan-documents");
    const numbers = await page.locator("dl dd").allInnerTexts();
    await page.fill("input[name=confirm]", TARGET);
    await page.click("button.danger");
    await page.waitForURL(/\/jobs\//);
    await page.locator(".state.completed").waitFor({ timeout: 60000 });
    return { numbers };
  },
  async schedule() {
    await page.goto(BASE_URL + "/");
    await page.click(`th >> text="${INSTANCE}"`);
    await page.click(".actions a[href$='/schedule']");
    await check("schedule");
    await page.fill("textarea[name=snapshots]", "often keep 7 days");
    await page.click("button.main");
    const refused = await text(".error");
    await page.fill("textarea[name=snapshots]", "every 6 hours keep 7 days\ncron 30 18 * * MON-FRI keep 2 weeks");
    await page.fill("input[name=zone]", "Asia/Seoul");
    await page.fill("input[name=time]", "03:15");
    await page.click("button.main");
    await page.waitForURL(/\/schedule$/);
    await check("schedule-set");
    await shot("schedule");
    const next = await page.locator("dl dd").allInnerTexts();
    return { refused, next, lines: await page.inputValue("textarea[name=snapshots]") };
  },
  async access() {
    await page.goto(BASE_URL + "/");
    await page.click("nav a[href$='/access']");
    await check("access");
    await page.fill("fieldset:has(button[value=add-key]) input[name=name]", "a person");
    await page.click("button[value=add-key]");
    await page.locator("[role=status]").waitFor();
    await check("access-made");
    const [login, secret] = await page.locator("[role=status] code").allInnerTexts();
    await page.fill("fieldset:has(button[value=add-user]) input[name=name]", "reader");
    await page.fill("input[name=password]", " a pass phrase ");
    await page.click("button[value=add-user]");
    await page.locator("th >> text=reader").waitFor();
    await shot("access");
    await page.fill("fieldset:has(button[value=add-user]) input[name=name]", "reader");
    await page.fill("input[name=password]", "another pass phrase");
    await page.click("button[value=add-user]");
    const refused = await text("[role=alert]");
    await check("access-refused");
    await page.locator("tr", { hasText: "a person" }).locator("button[value=remove-key]").click();
    await page.waitForURL(/\/access$/);
    const left = await page.locator("tr", { hasText: "a person" }).count();
    await page.click("nav a[href$='/events']");
    await check("events");
    await shot("events");
    return { login, secret, refused, left, events: await page.locator("tbody code").allInnerTexts() };
  },
  async instances() {
    await page.goto(BASE_URL + "/");
    await page.fill("fieldset input[name=name]", "a-second-one");
    await page.click("fieldset button");
    await page.locator("th >> text=a-second-one").waitFor();
    await page.fill("fieldset input[name=name]", "a-second-one");
    await page.click("fieldset button");
    const refused = await text("[role=alert]");
    await check("fleet-refused");
    await page.goto(BASE_URL + "/");
    await page.click("th >> text=a-second-one");
    await page.locator("h1 .state.idle").or(page.locator("h1 .state.creating")).waitFor();
    await page.click("summary");
    await check("instance-remove");
    await page.fill("input[name=confirm]", "a-second-one");
    await page.click("button.danger");
    await page.waitForURL(/\/projects\/[0-9a-f]{24}$/);
    return { refused, state: await page.locator("tr", { hasText: "a-second-one" }).locator(".state").allInnerTexts() };
  },
  async problem() {
    const answer = await page.goto(BASE_URL + "/projects/nothing");
    await check("problem");
    return { status: answer.status(), heading: await text("h1") };
  },
  async language() {
    const heard = {};
    for (const code of ["ko", "ja", "en"]) {
      await page.goto(BASE_URL + "/");
      await page.click(`.language button[value=${code}]`);
      await page.waitForURL(/\/projects\//);
      heard[code] = [await page.getAttribute("html", "lang"), await text("h1")];
    }
    return heard;
  },
  async signOut() {
    await page.goto(BASE_URL + "/");
    await page.click(".leave button[name=everywhere]");
    await page.waitForURL(/\/sign-in/);
    await page.goto(BASE_URL + "/projects");
    return { url: page.url() };
  },
};

let answer;
try {
  answer = await steps[step]();
} catch (error) {
  if (SHOTS) await page.screenshot({ path: join(SHOTS, `failed-${step}.png`) }).catch(() => {});
  answer = { failed: String(error), at: page.url(), content: (await page.content()).slice(0, 3000) };
}
if (STATE) await context.storageState({ path: STATE });
await browser.close();
console.log(JSON.stringify({ ...answer, errors, violations: found }));
